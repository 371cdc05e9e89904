package policy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// FeedSchema names the JSON form of a deny feed.
const FeedSchema = "ztlaunch.deny/v1"

// MaxFeedSize caps a deny feed, in bytes.
const MaxFeedSize = 4 << 20

const (
	maxSerial = 1<<53 - 1 // which every reader of JSON agrees on
	maxWhy    = 1024      // bytes of a reason
	maxNamed  = 4096      // bytes of an issuer or certificate name
)

// feedFile is a deny feed as it is written.
type feedFile struct {
	Schema       string            `json:"schema"`
	Serial       uint64            `json:"serial"`
	Issued       time.Time         `json:"issued"`
	Until        time.Time         `json:"until"`
	Digests      []feedDigest      `json:"digests"`
	Signers      []feedSigner      `json:"signers"`
	Certificates []feedCertificate `json:"certificates"`
	Logs         []feedLog         `json:"logs"`
}

type feedDigest struct {
	Digest digest.Digest `json:"digest"`
	Reason string        `json:"reason"`
}

type feedSigner struct {
	Key       string    `json:"key"`
	Authority string    `json:"authority"`
	Issuer    string    `json:"issuer"`
	SAN       string    `json:"san"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason"`
}

type feedCertificate struct {
	SHA256 string `json:"sha256"`
	Reason string `json:"reason"`
}

type feedLog struct {
	ID     string    `json:"id"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// ParseFeed reads a deny feed, whose form the package comment says; file names it in
// messages. Nothing about it is proved, and no policy that names a feed takes it: that
// is what Policy.Feed is for.
// Every refusal has the code deny-feed-malformed.
func ParseFeed(raw []byte, file string) (Feed, error) {
	feed, err := parseFeed(raw)
	if err == nil {
		return feed, nil
	}
	e := &reason.Error{Code: reason.DenyFeedMalformed, What: "read the deny feed " + file, Expected: "a deny feed of schema " + FeedSchema, Found: err.Error(), Next: "bring the feed anew"}
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) { // whose text is about Go
		e.Found = fmt.Sprintf("%s is a JSON %s, which it cannot be", typed.Field, typed.Value)
	} else if inner, ok := reason.Of(err); ok {
		e.Found = inner.Error()
	}
	return Feed{}, e
}

func parseFeed(raw []byte) (Feed, error) {
	if len(raw) > MaxFeedSize {
		return Feed{}, fmt.Errorf("%d bytes, at most %d", len(raw), MaxFeedSize)
	}
	var f feedFile
	if err := content.DecodeJSON("deny feed", raw, &f); err != nil {
		return Feed{}, err
	}
	if err := noNull(raw); err != nil {
		return Feed{}, err
	}
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(feedFile)); err != nil {
		return Feed{}, err
	}
	switch {
	case f.Schema != FeedSchema:
		return Feed{}, fmt.Errorf("schema %.80q", f.Schema)
	case f.Serial == 0 || f.Serial > maxSerial:
		return Feed{}, fmt.Errorf("serial %d, not 1 to %d", f.Serial, uint64(maxSerial))
	case f.Issued.IsZero() || f.Until.IsZero():
		return Feed{}, errors.New("no issued or no until")
	case !f.Until.After(f.Issued):
		return Feed{}, fmt.Errorf("until %s, which is not after issued %s", stamp(f.Until), stamp(f.Issued))
	}
	feed := Feed{Serial: f.Serial, Issued: f.Issued.UTC(), Until: f.Until.UTC(), Digest: digest.FromBytes(raw)}
	return feed, feed.fill(f)
}

// noNull refuses null, which is no value.
func noNull(raw []byte) error {
	if !bytes.Contains(raw, []byte("null")) { // looking at each value takes longer than all the rest
		return nil
	}
	for d := json.NewDecoder(bytes.NewReader(raw)); ; {
		switch token, err := d.Token(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case token == nil:
			return fmt.Errorf("null before byte %d", d.InputOffset())
		}
	}
}

func (feed *Feed) fill(f feedFile) error {
	seen := map[string]bool{}
	// once accepts an entry with its reason that no entry before it names.
	once := func(list string, i int, name, why string) error {
		switch {
		case why == "" || len(why) > maxWhy:
			return fmt.Errorf("%s[%d]: a reason of %d bytes, not 1 to %d", list, i, len(why), maxWhy)
		case seen[list+" "+name]:
			return fmt.Errorf("%s[%d]: %.80q is there twice", list, i, name)
		}
		seen[list+" "+name] = true
		return nil
	}
	feed.Denied = make(map[digest.Digest]string, len(f.Digests))
	for i, d := range f.Digests {
		if sum, ok := strings.CutPrefix(string(d.Digest), "sha256:"); !ok || !hex64(sum) {
			return fmt.Errorf("digests[%d]: %.80q, not sha256: and 64 lower-case hex digits", i, string(d.Digest))
		}
		if err := once("digests", i, string(d.Digest), d.Reason); err != nil {
			return err
		}
		feed.Denied[d.Digest] = d.Reason
	}
	for i, s := range f.Signers {
		if !s.whole() {
			return fmt.Errorf("signers[%d]: not one of a key, an authority and san, or an issuer and san; key and authority are sha256: and 64 lower-case hex digits", i)
		}
		if err := once("signers", i, s.Key+"\n"+s.Authority+"\n"+s.Issuer+"\n"+s.SAN, s.Reason); err != nil {
			return err
		}
		feed.signers = append(feed.signers, deniedSigner{s.Key, s.Authority, s.Issuer, s.SAN, s.Since.UTC(), s.Reason})
	}
	feed.certificates = make(map[digest.Digest]string, len(f.Certificates))
	for i, c := range f.Certificates {
		if !hex64(c.SHA256) {
			return fmt.Errorf("certificates[%d]: %.80q, not 64 lower-case hex digits", i, c.SHA256)
		}
		if err := once("certificates", i, c.SHA256, c.Reason); err != nil {
			return err
		}
		feed.certificates[digest.NewDigestFromEncoded(digest.SHA256, c.SHA256)] = c.Reason
	}
	feed.logs = make(map[string]deniedLog, len(f.Logs))
	for i, l := range f.Logs {
		if !hex64(l.ID) {
			return fmt.Errorf("logs[%d]: %.80q, not 64 lower-case hex digits", i, l.ID)
		}
		if err := once("logs", i, l.ID, l.Reason); err != nil {
			return err
		}
		feed.logs[l.ID] = deniedLog{l.Since.UTC(), l.Reason}
	}
	return nil
}

// whole says that an entry names somebody in one of the three ways.
func (s feedSigner) whole() bool {
	sum := func(id string) bool {
		hex, ok := strings.CutPrefix(id, "sha256:")
		return ok && hex64(hex)
	}
	if s.Key != "" {
		return sum(s.Key) && s.Authority+s.Issuer+s.SAN == ""
	}
	if s.SAN == "" || len(s.SAN) > maxNamed || len(s.Issuer) > maxNamed {
		return false
	}
	return s.Authority == "" && s.Issuer != "" || sum(s.Authority) && s.Issuer == ""
}

func hex64(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 64 && strings.ToLower(s) == s
}
