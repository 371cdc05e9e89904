package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// feedMemory is what was seen of the feed at one path: of each signer the highest
// serial, and which bytes had it. A signer that the policy no longer names does not
// count, so that two feeds that trade places do not stand in each other's way.
type feedMemory struct {
	Schema string     `json:"schema"`
	File   string     `json:"file"`
	Seen   []seenFeed `json:"seen"`
}

// seenFeed is the highest serial of one signer.
type seenFeed struct {
	Serial uint64          `json:"serial"`
	Digest digest.Digest   `json:"digest"`
	Signer evidence.Signer `json:"signer"`
}

const (
	feedMemorySchema = "ztlaunch.deny-seen/v1"
	maxSeen          = 64 // signers of one feed; of more, those with the lowest serials go
)

// highest is the highest serial that somebody signed who may sign now.
func (m feedMemory) highest(p policy.Policy) seenFeed {
	var top seenFeed
	for _, s := range m.Seen {
		if s.Serial > top.Serial && p.SignsFeed(s.Signer) {
			top = s
		}
	}
	return top
}

// allows refuses a feed that is older than one seen before, or another one of the
// same serial.
func (m feedMemory) allows(p policy.Policy, feed policy.Feed) error {
	top := m.highest(p)
	what := "believe the deny feed " + p.DenyFeed()
	switch {
	case feed.Serial < top.Serial:
		return &reason.Error{Code: reason.FeedRolledBack, What: what, Expected: fmt.Sprintf("serial %d or later", top.Serial),
			Found: fmt.Sprintf("serial %d, issued %s", feed.Serial, feed.Issued.Format(time.RFC3339)), Next: "bring the newer deny feed back"}
	case feed.Serial == top.Serial && feed.Digest != top.Digest:
		return &reason.Error{Code: reason.DenyFeedForked, What: what, Expected: fmt.Sprintf("serial %d as %s", top.Serial, top.Digest),
			Found: feed.Digest.String(), Next: "have its signer issue one with a higher serial"}
	}
	return nil
}

// with is the memory with a feed added.
func (m feedMemory) with(feed policy.Feed) feedMemory {
	out := feedMemory{feedMemorySchema, m.File, []seenFeed{{feed.Serial, feed.Digest, feed.Signer}}}
	for _, s := range m.Seen {
		if a, b := s.Signer, feed.Signer; a.Key != b.Key || a.Authority != b.Authority || a.Issuer != b.Issuer || a.SAN != b.SAN {
			out.Seen = append(out.Seen, s)
		}
	}
	slices.SortStableFunc(out.Seen, func(a, b seenFeed) int { return cmp.Compare(b.Serial, a.Serial) })
	out.Seen = out.Seen[:min(len(out.Seen), maxSeen)]
	return out
}

// knows says that a feed adds nothing.
func (m feedMemory) knows(feed policy.Feed) bool {
	return slices.Contains(m.Seen, seenFeed{feed.Serial, feed.Digest, feed.Signer})
}

// remember holds the feed against those seen before, and keeps its serial. A feed
// that cannot be remembered is not believed: the next one could be older.
func remember(d dirs, p policy.Policy, feed policy.Feed) error {
	name := filepath.Join(d.feeds(), digest.FromString(p.DenyFeed()).Encoded())
	m, err := readMemory(name, p.DenyFeed())
	if err == nil {
		err = m.allows(p, feed)
	}
	if err != nil || m.knows(feed) {
		return err
	}
	return locking(d, func() error {
		now, err := readMemory(name, p.DenyFeed()) // somebody else may have seen a newer one by now
		if err == nil {
			err = now.allows(p, feed)
		}
		if err != nil {
			return err
		}
		raw, err := json.Marshal(now.with(feed))
		if err == nil {
			err = os.MkdirAll(d.feeds(), 0o700)
		}
		if err == nil {
			err = replaceFile(name, append(raw, '\n'), 0o600)
		}
		if err != nil {
			return forgetful(name, err)
		}
		return nil
	})
}

func readMemory(name, file string) (feedMemory, error) {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return feedMemory{Schema: feedMemorySchema, File: file}, nil
	}
	if err != nil {
		return feedMemory{}, forgetful(name, err)
	}
	var m feedMemory
	if err := content.DecodeJSON("deny feeds seen", raw, &m); err != nil {
		return feedMemory{}, forgetful(name, err)
	}
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(feedMemory)); err != nil {
		return feedMemory{}, forgetful(name, err)
	}
	if m.Schema != feedMemorySchema || m.File != file || len(m.Seen) == 0 {
		return feedMemory{}, forgetful(name, fmt.Errorf("schema %q of %q", m.Schema, m.File))
	}
	return m, nil
}

// forgetful refuses a memory that cannot be read or written.
func forgetful(name string, err error) error {
	return &reason.Error{Code: reason.DenyFeedMemory, What: "recall the deny feeds seen before", Expected: "the file " + name + ", as it was written",
		Next: "make sure that the deny feed is the newest, and remove " + reason.Word(name), Err: err}
}
