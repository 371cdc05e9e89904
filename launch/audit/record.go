package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	maxLine   = 64 << 10
	maxText   = 4096
	maxList   = 256
	trailer   = len(`,"hash":"`) + 64 + len(`","mac":"`) + 64 + len(`"}`)
	timeForm  = "2006-01-02T15:04:05.000000Z"
	hashTag   = "ztlaunch/audit-record/v1\n"
	macTag    = "ztlaunch/audit-mac/v1\n"
	firstPrev = "0000000000000000000000000000000000000000000000000000000000000000"
)

// isKind reports whether s is a letter and at most 31 letters and hyphens more.
func isKind(s string) bool {
	for i, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c != '-' || i == 0) {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 32
}

// envelope is a record without its hash and mac; the order of the members is
// the order on disk.
type envelope struct {
	Seq  uint64          `json:"seq"`
	Time string          `json:"time"`
	Prev string          `json:"prev"`
	Kind Kind            `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// body is what a record says, in the order on disk.
type body struct {
	Task     string        `json:"task,omitempty"`
	Actor    string        `json:"actor,omitempty"`
	Verb     string        `json:"verb,omitempty"`
	Purpose  string        `json:"purpose,omitempty"`
	Parts    []Part        `json:"parts,omitempty"`
	Policy   digest.Digest `json:"policy,omitempty"`
	Trust    digest.Digest `json:"trust,omitempty"`
	Plan     digest.Digest `json:"plan,omitempty"`
	Profile  digest.Digest `json:"profile,omitempty"`
	Codes    []reason.Code `json:"codes,omitempty"`
	Rule     string        `json:"rule,omitempty"`
	Path     string        `json:"path,omitempty"`
	Expected string        `json:"expected,omitempty"`
	Found    string        `json:"found,omitempty"`
	Tier     string        `json:"tier,omitempty"`
	Unsafe   []string      `json:"unsafe,omitempty"`
	Cause    string        `json:"cause,omitempty"`
	Status   *int          `json:"status,omitempty"`
	Note     string        `json:"note,omitempty"`
	Clipped  bool          `json:"clipped,omitempty"`
}

// line is one parsed record.
type line struct {
	envelope
	hash, mac string
}

// encode writes the record's line, newline included, and returns its hash. A
// record that would not fit is clipped further until it does.
func encode(key []byte, seq uint64, prev string, r Record) ([]byte, string, error) {
	for c := (clip{text: maxText, list: maxList}); ; c = (clip{text: c.text / 2, list: c.list / 2, cut: true}) {
		text, err := canonical(bodyOf(r, &c))
		if err != nil {
			return nil, "", err
		}
		if len(text) > maxLine-1024 {
			continue
		}
		head, err := canonical(envelope{
			Seq: seq, Time: r.Time.UTC().Format(timeForm), Prev: prev, Kind: r.Kind, Body: text,
		})
		if err != nil {
			return nil, "", err
		}
		head = head[:len(head)-1] // the closing brace comes after the trailer
		sum := hashOf(head)
		out := append(head, `,"hash":"`...)
		out = append(out, sum...)
		out = append(out, `","mac":"`...)
		out = append(out, macOf(key, sum)...)
		return append(out, "\"}\n"...), sum, nil
	}
}

// parse reads one line, without its newline. It proves that the line is
// written as encode writes it and that the hash is its own; the mac needs the
// key. The body stays unread: a newer ztlaunch may say more in it.
func parse(text []byte) (line, error) {
	if len(text) >= maxLine || len(text) <= trailer {
		return line{}, errors.New("not the length of a record")
	}
	head, tail := text[:len(text)-trailer], text[len(text)-trailer:]
	sum, mac := tail[9:9+64], tail[9+64+9:9+64+9+64]
	if string(tail[:9]) != `,"hash":"` || string(tail[73:82]) != `","mac":"` || string(tail[146:]) != `"}` {
		return line{}, errors.New("does not end in a hash and a mac")
	}
	whole := append(bytes.Clone(head), '}')
	var l line
	d := json.NewDecoder(bytes.NewReader(whole))
	d.DisallowUnknownFields()
	if err := d.Decode(&l.envelope); err != nil {
		return line{}, err
	}
	again, err := canonical(l.envelope)
	if err != nil || !bytes.Equal(again, whole) {
		return line{}, errors.New("not in canonical form")
	}
	if _, err := time.Parse(timeForm, l.Time); err != nil {
		return line{}, err
	}
	if !isKind(string(l.Kind)) || len(l.Body) == 0 || l.Body[0] != '{' || !isHex(l.Prev) {
		return line{}, errors.New("not a record")
	}
	l.hash, l.mac = string(sum), string(mac)
	if hashOf(head) != l.hash {
		return l, errHash
	}
	return l, nil
}

// errHash is returned with the parsed line: the line is a record in form, but
// not the one that was hashed.
var errHash = errors.New("the hash is not the record's")

// genuine says whether the holder of the key wrote the line.
func (l line) genuine(key []byte) bool {
	return len(key) > 0 && hmac.Equal([]byte(macOf(key, l.hash)), []byte(l.mac))
}

func hashOf(head []byte) string {
	h := sha256.New()
	h.Write([]byte(hashTag))
	h.Write(head)
	return hex.EncodeToString(h.Sum(nil))
}

func macOf(key []byte, sum string) string {
	raw, _ := hex.DecodeString(sum) // sum comes from hashOf or was checked against it
	m := hmac.New(sha256.New, key)
	m.Write([]byte(macTag))
	m.Write(raw)
	return hex.EncodeToString(m.Sum(nil))
}

func isHex(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// canonical is encoding/json without HTML escapes and without the newline.
func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// bodyOf clips and blanks what the caller gave.
func bodyOf(r Record, c *clip) body {
	b := body{
		Task: c.one(r.Task), Actor: c.one(r.Actor), Verb: c.one(r.Verb), Purpose: c.one(r.Purpose),
		Policy: r.Policy, Trust: r.Trust, Plan: r.Plan, Profile: r.Profile,
		Codes: first(c, r.Codes), Rule: c.one(r.Rule), Path: c.one(r.Path), Expected: c.one(r.Expected),
		Found: c.one(r.Found), Tier: c.one(r.Tier), Unsafe: c.all(r.Unsafe), Cause: c.one(r.Cause),
		Note: c.one(r.Note),
	}
	for _, p := range first(c, r.Parts) {
		b.Parts = append(b.Parts, Part{
			Role: c.one(p.Role), Name: c.one(p.Name), Digest: p.Digest, Tree: p.Tree,
			Signers: c.all(p.Signers), Evidence: first(c, p.Evidence),
		})
	}
	if r.Kind == Exit {
		b.Status = &r.Status
	}
	b.Clipped = c.cut
	return b
}

// clip bounds each text, in bytes, each list, and all text together.
type clip struct {
	text, list int
	used       int
	cut        bool
}

func (c *clip) one(s string) string {
	const margin = 1024 // so that no half of a credential is left at the cut
	room := min(c.text, max(0, maxLine-c.used))
	s = blank(strings.ToValidUTF8(c.cutAt(s, room+margin), "\uFFFD"))
	s = c.cutAt(s, room)
	c.used += len(s)
	return s
}

// cutAt keeps at most n bytes, in whole runes.
func (c *clip) cutAt(s string, n int) string {
	if len(s) <= n {
		return s
	}
	c.cut = true
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (c *clip) all(in []string) []string {
	var out []string
	for _, s := range first(c, in) {
		out = append(out, c.one(s))
	}
	return out
}

func first[T any](c *clip, in []T) []T {
	if len(in) > c.list {
		c.cut = true
		in = in[:c.list]
	}
	return in
}
