package admit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Lock is what a set of names stood for when it was admitted. As a file it is
// YAML of package form, written to be reviewed: one entry for each name and tag,
// sorted by kind, name and tag, every field on a line of its own.
//
//	version: 1
//	entries:
//	  - name: registry.example/agents/coder
//	    kind: image
//	    tag: "1.4"
//	    from: oci-layout:./agent         # where it lies, if not in a registry: relative to the lock
//	    digest: sha256:...               # the index, or the manifest where there is none
//	    platforms:
//	      - {platform: linux/amd64, manifest: sha256:...}
//	    signers:
//	      - "https://github.com/... (https://token...)"
//	    evidence:
//	      - sha256:...                   # envelopes that were proved
//	    pin: sha256:...                  # servers: the recorded surface
//	    policy: sha256:...               # that admitted it
//	    met:
//	      - "images[0].require[0].signature: signature by release"
//	    verified: 2026-06-01T12:00:00Z
//
// tag, from, platforms, pin, policy and met may be absent; policy and met are for
// people, and nothing is compared with them. A lock read from disk is data: it admits nothing, it only narrows what a name
// may stand for.
type Lock struct{ entries []Entry }

// Entry is one name of a lock.
type Entry struct {
	Name      string
	Kind      artifact.Kind
	Tag       string        // "" if the reference had none
	From      string        // the reference of a local artifact, or ""
	Digest    digest.Digest // what the name stood for: the index, or the manifest
	Platforms []Platform    // sorted; empty for a model
	Signers   []string      // sorted
	Evidence  []digest.Digest
	Pin       digest.Digest // of the pin's predicate, or ""
	Policy    digest.Digest // that admitted it, or ""
	Met       []string      // the demands that it met, in the order of the policy
	Verified  time.Time     // to the second
	Line      int           // in the file that it was read from; 0 for one that was made
}

// Platform is the manifest that an index holds for a platform.
type Platform struct {
	Platform string
	Manifest digest.Digest
}

// NewEntry is the lock entry of an admission; only one for the purpose run has
// one. What is no name of a registry says in From where it was.
func NewEntry(a Admission) (Entry, error) {
	if a.Zero() || a.Purpose() != policy.Run {
		return Entry{}, &reason.Error{Code: reason.AdmissionMismatch, What: "lock", Expected: "an admission for run", Found: "for " + string(a.Purpose())}
	}
	e := found(a.Artifact(), a)
	if ref := a.Artifact().Ref(); ref.Scheme() != artifact.Registry {
		e.From = ref.String()
	}
	e.Policy = a.PolicyDigest()
	for _, f := range a.Decision().Findings() {
		if f.Pass {
			e.Met = append(e.Met, f.Rule+": "+f.What)
		}
	}
	return e, nil
}

func found(at artifact.Artifact, a Admission) Entry {
	e := Entry{Name: at.Ref().Name(), Kind: at.Kind(), Tag: at.Ref().Tag(), Digest: cmp.Or(at.Index(), at.Digest()),
		Signers: a.Signers(), Verified: a.At().UTC().Truncate(time.Second)}
	if !at.Platform().Zero() {
		e.Platforms = []Platform{{at.Platform().String(), at.Digest()}}
	}
	for _, p := range a.Proved() {
		e.Evidence = append(e.Evidence, p.Envelope)
	}
	slices.Sort(e.Evidence)
	e.Evidence = slices.Compact(e.Evidence)
	if pin := a.Pin(); pin != nil {
		e.Pin = digest.FromBytes(pin)
	}
	return e
}

// Entries are the entries, sorted.
func (l Lock) Entries() []Entry { return slices.Clone(l.entries) }

// Find is the entry for a name and tag.
func (l Lock) Find(kind artifact.Kind, name, tag string) (Entry, bool) {
	for _, e := range l.entries {
		if e.Kind == kind && e.Name == name && e.Tag == tag {
			return e, true
		}
	}
	return Entry{}, false
}

// Zero reports whether there is no entry.
func (e Entry) Zero() bool { return e.Digest == "" }

// Same reports whether two entries say the same, but for when it was found and
// where it is written.
func (e Entry) Same(o Entry) bool {
	e.Verified, e.Line, o.Verified, o.Line = time.Time{}, 0, time.Time{}, 0
	return bytes.Equal(Lock{[]Entry{e}}.Encode(), Lock{[]Entry{o}}.Encode())
}

// Tagged is the entry's name with its tag.
func (e Entry) Tagged() string {
	if e.Tag == "" {
		return e.Name
	}
	return e.Name + ":" + e.Tag
}

// Called reports whether people mean the entry by word: its name, its name and tag,
// or a reference of either.
func (e Entry) Called(word string) bool {
	if word == e.Name || word == e.Tagged() || word == e.From && word != "" {
		return true
	}
	ref, err := artifact.Parse(word)
	return err == nil && ref.Scheme() == artifact.Registry && ref.Name() == e.Name && ref.Tag() == e.Tag
}

// Reference is where the entry's artifact is to be had, not pinned to its digest. A
// model without from is lock-invalid.
func (e Entry) Reference() (artifact.Reference, error) {
	word := e.From
	switch {
	case word != "":
	case e.Kind == artifact.Model:
		return artifact.Reference{}, &reason.Error{Code: reason.LockInvalid, What: "find " + e.Name, Expected: "from: model:./FOLDER", Found: "no from", Next: "ztlaunch lock model:./FOLDER"}
	case e.Tag != "":
		word = e.Tagged()
	default:
		word = e.Name + "@" + e.Digest.String()
	}
	ref, err := artifact.Parse(word)
	if err != nil {
		return artifact.Reference{}, err
	}
	if ref.Path() != "" {
		ref = ref.Named(e.Name)
	}
	return ref.As(e.Kind), nil
}

// With is the lock with an entry put in the place of the one for the same kind,
// name and tag. Where that one stands for the same digest, its other platforms
// are kept.
func (l Lock) With(e Entry) Lock {
	out := slices.Clone(l.entries)
	for i, was := range out {
		if order(was, e) != 0 {
			continue
		}
		if was.Digest == e.Digest {
			e.Platforms = slices.Clone(e.Platforms)
			for _, p := range was.Platforms {
				if !slices.ContainsFunc(e.Platforms, func(q Platform) bool { return q.Platform == p.Platform }) {
					e.Platforms = append(e.Platforms, p)
				}
			}
			slices.SortFunc(e.Platforms, func(a, b Platform) int { return strings.Compare(a.Platform, b.Platform) })
		}
		out[i] = e
		return Lock{out}
	}
	out = append(out, e)
	slices.SortFunc(out, order)
	return Lock{out}
}

func order(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name), strings.Compare(a.Tag, b.Tag))
}

// Resolves refuses an artifact that the entry's name does not stand for
// (tag-moved), before anything is decided about it. A platform that the entry
// does not hold is lock-stale.
func (e Entry) Resolves(a artifact.Artifact) error {
	what := "compare " + a.Ref().String() + " with the lock"
	if a.Kind() != e.Kind || a.Ref().Name() != e.Name {
		return &reason.Error{Code: reason.LockStale, What: what, Expected: e.Kind.String() + " " + e.Name, Found: a.Kind().String() + " " + a.Ref().Name(), Next: e.update()}
	}
	if got := cmp.Or(a.Index(), a.Digest()); got != e.Digest && !e.holds(a.Digest()) {
		return &reason.Error{Code: reason.TagMoved, What: what, Expected: e.Digest.String(), Found: got.String(), Next: e.update()}
	}
	if a.Platform().Zero() {
		return nil
	}
	for _, p := range e.Platforms {
		if p.Platform != a.Platform().String() {
			continue
		}
		if p.Manifest != a.Digest() {
			return &reason.Error{Code: reason.TagMoved, What: what, Expected: p.Platform + " " + p.Manifest.String(), Found: a.Digest().String(), Next: e.update()}
		}
		return nil
	}
	return &reason.Error{Code: reason.LockStale, What: what, Expected: "the platform " + a.Platform().String(), Found: e.platforms(), Next: e.update()}
}

// Extended is the entry with the artifact's platform, where that is another one of the
// very index that the entry stands for: news, and no move.
func (e Entry) Extended(a artifact.Artifact) Entry {
	platform := a.Platform().String()
	if a.Platform().Zero() || a.Index() == "" || a.Index() != e.Digest || slices.ContainsFunc(e.Platforms, func(p Platform) bool { return p.Platform == platform }) {
		return e
	}
	e.Platforms = append(slices.Clone(e.Platforms), Platform{platform, a.Digest()})
	slices.SortFunc(e.Platforms, func(a, b Platform) int { return strings.Compare(a.Platform, b.Platform) })
	return e
}

// holds reports whether a digest is a manifest of the entry: a run may name the
// manifest directly.
func (e Entry) holds(d digest.Digest) bool {
	return slices.ContainsFunc(e.Platforms, func(p Platform) bool { return p.Manifest == d })
}

func (e Entry) platforms() string {
	var all []string
	for _, p := range e.Platforms {
		all = append(all, p.Platform)
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ")
}

func (e Entry) update() string {
	if e.Kind == artifact.MCP {
		return "ztlaunch lock --update --kind server " + e.Tagged()
	}
	return "ztlaunch lock --update " + e.Tagged()
}

// Compare refuses an admission that says something else than the entry:
// tag-moved for other bytes, lock-stale for other signers or another pin. New
// evidence by the same signers is no difference.
func (e Entry) Compare(a Admission) error {
	if a.Zero() {
		return &reason.Error{Code: reason.AdmissionMismatch, What: "compare with the lock", Expected: "an admission", Found: "none"}
	}
	if err := e.Resolves(a.Artifact()); err != nil {
		return err
	}
	now := found(a.Artifact(), a)
	stale := func(expected, found string) error {
		return &reason.Error{Code: reason.LockStale, What: "compare " + a.Artifact().Ref().String() + " with the lock", Expected: expected, Found: found, Next: e.update()}
	}
	if !slices.Equal(e.Signers, now.Signers) {
		return stale("signed by "+strings.Join(e.Signers, ", "), strings.Join(now.Signers, ", "))
	}
	if e.Pin != now.Pin {
		return stale("pin "+cmp.Or(string(e.Pin), "none"), cmp.Or(string(now.Pin), "none"))
	}
	return nil
}

// Encode writes the lock as a file. Equal locks give equal bytes.
func (l Lock) Encode() []byte {
	b := []byte("# ztlaunch.lock: what was admitted, by digest. Made by ztlaunch lock; review its changes.\nversion: 1\n")
	if len(l.entries) == 0 {
		return append(b, "entries: []\n"...)
	}
	b = append(b, "entries:\n"...)
	for _, e := range l.entries {
		b = fmt.Appendf(b, "  - name: %s\n    kind: %s\n", quote(e.Name), e.Kind)
		if e.Tag != "" {
			b = fmt.Appendf(b, "    tag: %s\n", quote(e.Tag))
		}
		if e.From != "" {
			b = fmt.Appendf(b, "    from: %s\n", quote(e.From))
		}
		b = fmt.Appendf(b, "    digest: %s\n", e.Digest)
		if len(e.Platforms) > 0 {
			b = append(b, "    platforms:\n"...)
			for _, p := range e.Platforms {
				b = fmt.Appendf(b, "      - {platform: %s, manifest: \"%s\"}\n", quote(p.Platform), p.Manifest)
			}
		}
		b = block(b, "signers", e.Signers)
		var evidence []string
		for _, d := range e.Evidence {
			evidence = append(evidence, d.String())
		}
		b = block(b, "evidence", evidence)
		if e.Pin != "" {
			b = fmt.Appendf(b, "    pin: %s\n", e.Pin)
		}
		if e.Policy != "" {
			b = fmt.Appendf(b, "    policy: %s\n", e.Policy)
		}
		if len(e.Met) > 0 {
			b = block(b, "met", e.Met)
		}
		b = fmt.Appendf(b, "    verified: %q\n", stamp(e.Verified))
	}
	return b
}

func block(b []byte, key string, all []string) []byte {
	if len(all) == 0 {
		return fmt.Appendf(b, "    %s: []\n", key)
	}
	b = fmt.Appendf(b, "    %s:\n", key)
	for _, s := range all {
		b = fmt.Appendf(b, "      - %s\n", quote(s))
	}
	return b
}

// quote writes text in double quotes, as JSON and YAML 1.2 read alike.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// ParseLock reads a lock file; file names it in messages. Unknown keys, entries
// that appear twice, and entries that contradict themselves are refused.
func ParseLock(raw []byte, file string) (Lock, error) {
	doc := form.Parse(file, raw)
	var l Lock
	root := doc.Root()
	root.Fields(map[string]func(form.Node){
		"version": func(v form.Node) { v.Int(1, 1) },
		"entries": func(v form.Node) { v.List(func(_ int, v form.Node) { l.entries = append(l.entries, readEntry(v)) }) },
	})
	root.Need("version", "entries")
	if err := doc.Err(); err != nil {
		return Lock{}, err
	}
	slices.SortStableFunc(l.entries, order)
	for i := 1; i < len(l.entries); i++ {
		if e := l.entries[i]; order(l.entries[i-1], e) == 0 {
			return Lock{}, &reason.Error{Code: reason.LockInvalid, What: "read " + file, Expected: "each name and tag once", Found: fmt.Sprintf("%s %s:%s twice", e.Kind, e.Name, e.Tag)}
		}
	}
	return l, nil
}
