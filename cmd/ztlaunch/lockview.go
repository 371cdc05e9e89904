package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/admit"
)

// projectLocked is the JSON of `lock` about the project's lock.
type projectLocked struct {
	header
	File    string         `json:"file"`
	Entries []projectEntry `json:"entries"`
}

// projectEntry is one entry, and what it was before.
type projectEntry struct {
	Kind       string          `json:"kind"`
	Name       string          `json:"name"`
	Tag        string          `json:"tag,omitempty"`
	From       string          `json:"from,omitempty"`
	Digest     digest.Digest   `json:"digest"`
	Was        digest.Digest   `json:"was,omitempty"` // absent for a new entry
	Signers    []string        `json:"signers"`
	WasSigners []string        `json:"wasSigners,omitempty"` // where they are others
	Evidence   []digest.Digest `json:"evidence"`
	Pin        digest.Digest   `json:"pin,omitempty"`
	Policy     digest.Digest   `json:"policy,omitempty"`
	Met        []string        `json:"met,omitempty"`
	Verified   string          `json:"verified"`
}

func entryOf(e, was admit.Entry) projectEntry {
	out := projectEntry{Kind: e.Kind.String(), Name: e.Name, Tag: e.Tag, From: e.From, Digest: e.Digest, Was: was.Digest, Signers: append([]string{}, e.Signers...),
		Evidence: append([]digest.Digest{}, e.Evidence...), Pin: e.Pin, Policy: e.Policy, Met: e.Met, Verified: e.Verified.UTC().Format("2006-01-02T15:04:05Z")}
	if !was.Zero() && !slices.Equal(was.Signers, e.Signers) {
		out.WasSigners = was.Signers
	}
	return out
}

// tell is what lock did, for people.
func tell(changes []change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %s is %s", c.entry.Kind, c.entry.Tagged(), c.entry.Digest)
		if !c.was.Zero() && c.was.Digest != c.entry.Digest {
			fmt.Fprintf(&b, ", was %s", c.was.Digest)
		}
		if !c.was.Zero() && !slices.Equal(c.was.Signers, c.entry.Signers) {
			fmt.Fprintf(&b, "; signed by %s, was by %s", clean(strings.Join(c.entry.Signers, ", ")), clean(strings.Join(c.was.Signers, ", ")))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// why explains an entry: what its name stands for, who signed that, by which demands it
// was admitted, and by which envelopes.
func (e projectEntry) why() string {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name, clean(value))
		}
	}
	name := e.Name
	if e.Tag != "" {
		name += ":" + e.Tag
	}
	row(e.Kind, name)
	row("from", e.From)
	row("digest", e.Digest.String())
	for _, s := range e.Signers {
		row("signed by", s)
	}
	for _, m := range e.Met {
		row("met", m)
	}
	row("policy", e.Policy.String())
	for _, d := range e.Evidence {
		row("evidence", d.String())
	}
	row("pin", e.Pin.String())
	row("verified", e.Verified)
	return b.String()
}
