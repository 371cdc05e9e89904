package tuf_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust/tuf"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

var (
	now   = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	until = now.AddDate(0, 0, 7)
)

// serve reads from a map.
func serve(files map[string][]byte) tuf.Fetch {
	return func(name string, limit int64) ([]byte, error) {
		raw, ok := files[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		case int64(len(raw)) > limit:
			return nil, errors.New(name + ": too large")
		}
		return raw, nil
	}
}

// updated is a repository that was seen once, at its first versions.
func updated(t *testing.T) (*verifytest.Repository, tuf.Kept) {
	t.Helper()
	r := verifytest.NewRepository(t, until, []byte("first"))
	u, err := tuf.Refresh(tuf.Kept{Root: r.Files["1.root.json"]}, serve(r.Files), now)
	if err != nil || string(u.Target) != "first" || u.Versions != (tuf.Versions{Root: 1, Timestamp: 1, Snapshot: 1, Targets: 1}) {
		t.Fatalf("%q %+v, %v", u.Target, u.Versions, err)
	}
	return r, u.Kept
}

func want(t *testing.T, kept tuf.Kept, files map[string][]byte, code reason.Code) {
	t.Helper()
	u, err := tuf.Refresh(kept, serve(files), now)
	e, ok := reason.Of(err)
	if !ok || e.Code != code || e.Expected == "" || e.Next == "" || e.Found == "" && e.Err == nil {
		t.Errorf("%v, want %s", err, code)
	}
	if u.Target != nil || u.Kept.Root != nil {
		t.Error("a refused update is not zero")
	}
}

func TestRefresh(t *testing.T) {
	r, kept := updated(t)
	again := func(target string, v tuf.Versions) {
		t.Helper()
		u, err := tuf.Refresh(kept, serve(r.Files), now)
		if err != nil || string(u.Target) != target || u.Versions != v {
			t.Fatalf("%q %+v, %v; want %q %+v", u.Target, u.Versions, err, target, v)
		}
		kept = u.Kept
	}
	again("first", tuf.Versions{Root: 1, Timestamp: 1, Snapshot: 1, Targets: 1})
	r.Publish(t, []byte("second"))
	again("second", tuf.Versions{Root: 1, Timestamp: 2, Snapshot: 2, Targets: 2})

	// Two new roots at once: other root keys, then other timestamp keys.
	r.Rotate(t, metadata.ROOT)
	r.Rotate(t, metadata.TIMESTAMP)
	r.Publish(t, []byte("third"))
	again("third", tuf.Versions{Root: 3, Timestamp: 3, Snapshot: 3, Targets: 3})

	// A repository recovers from a stolen timestamp key that signed version 999.
	r.Timestamp.Signed.Version = 999
	r.Put(t, metadata.TIMESTAMP)
	again("third", tuf.Versions{Root: 3, Timestamp: 999, Snapshot: 3, Targets: 3})
	r.Rotate(t, metadata.TIMESTAMP)
	r.Timestamp.Signed.Version = 4
	r.Put(t, metadata.TIMESTAMP)
	again("third", tuf.Versions{Root: 4, Timestamp: 4, Snapshot: 3, Targets: 3})

	// Without consistent snapshots.
	r.Root.Signed.ConsistentSnapshot = false
	r.Root.Signed.Version++
	r.Put(t, metadata.ROOT)
	r.Files["snapshot.json"], r.Files["targets.json"], r.Files["targets/trusted_root.json"] = r.Files["3.snapshot.json"], r.Files["3.targets.json"], []byte("third")
	again("third", tuf.Versions{Root: 5, Timestamp: 4, Snapshot: 3, Targets: 3})
}

// TestN42Rollback: a TUF mirror serves, of each role in turn, what is older than what
// was seen.
func TestN42Rollback(t *testing.T) {
	r, first := updated(t)
	old := r.Saved()
	r.Rotate(t, metadata.ROOT)
	r.Publish(t, []byte("second"))
	u, err := tuf.Refresh(first, serve(r.Files), now)
	if err != nil {
		t.Fatal(err)
	}
	kept, good := u.Kept, r.Saved()

	with := func(changes map[string][]byte) map[string][]byte {
		files := maps.Clone(good)
		maps.Copy(files, changes)
		return files
	}
	// The whole repository, and each role alone.
	want(t, kept, old, reason.TUFRollback)
	want(t, kept, with(map[string][]byte{"timestamp.json": old["timestamp.json"]}), reason.TUFRollback)
	want(t, kept, with(map[string][]byte{"3.root.json": good["2.root.json"]}), reason.TUFRollback)

	// A newer timestamp that names the older snapshot.
	r.Timestamp.Signed.Version = 3
	r.Timestamp.Signed.Meta["snapshot.json"].Version = 1
	r.Put(t, metadata.TIMESTAMP)
	want(t, kept, r.Files, reason.TUFRollback)

	// A newer snapshot that names the older targets, and one that names none.
	r.Timestamp.Signed.Meta["snapshot.json"].Version = 3
	r.Put(t, metadata.TIMESTAMP)
	r.Snapshot.Signed.Version = 3
	r.Snapshot.Signed.Meta["targets.json"].Version = 1
	r.Put(t, metadata.SNAPSHOT)
	want(t, kept, r.Files, reason.TUFRollback)

	// The same after the snapshot's keys were replaced: the targets' were not.
	r.Rotate(t, metadata.SNAPSHOT)
	r.Put(t, metadata.SNAPSHOT)
	want(t, kept, r.Files, reason.TUFRollback)

	if _, err := tuf.Refresh(kept, serve(good), now); err != nil {
		t.Errorf("the newest itself: %v", err)
	}
}

// TestN42RollbackAlone: one role of a TUF mirror goes back while those below it stay: only what was
// kept of that very role tells.
func TestN42RollbackAlone(t *testing.T) {
	r, kept := updated(t)
	see := func() {
		t.Helper()
		u, err := tuf.Refresh(kept, serve(r.Files), now)
		if err != nil {
			t.Fatal(err)
		}
		kept = u.Kept
	}
	// Timestamp 2 names the same snapshot as timestamp 1.
	first := r.Files["timestamp.json"]
	r.Timestamp.Signed.Version = 2
	r.Put(t, metadata.TIMESTAMP)
	see()
	second := r.Files["timestamp.json"]
	r.Files["timestamp.json"] = first
	want(t, kept, r.Files, reason.TUFRollback)
	r.Files["timestamp.json"] = second

	// Snapshot 2 names the same targets as snapshot 1, and a file besides.
	r.Snapshot.Signed.Version = 2
	r.Snapshot.Signed.Meta["other.json"] = metadata.MetaFile(5)
	r.Put(t, metadata.SNAPSHOT)
	r.Timestamp.Signed.Version = 3
	r.Timestamp.Signed.Meta["snapshot.json"].Version = 2
	r.Put(t, metadata.TIMESTAMP)
	see()
	r.Timestamp.Signed.Version = 4
	r.Timestamp.Signed.Meta["snapshot.json"].Version = 1
	r.Put(t, metadata.TIMESTAMP)
	want(t, kept, r.Files, reason.TUFRollback)

	r.Timestamp.Signed.Meta["snapshot.json"].Version = 3
	r.Put(t, metadata.TIMESTAMP)
	r.Snapshot.Signed.Version = 3
	r.Snapshot.Signed.Meta["other.json"].Version = 4
	r.Put(t, metadata.SNAPSHOT)
	want(t, kept, r.Files, reason.TUFRollback)
	delete(r.Snapshot.Signed.Meta, "other.json")
	r.Put(t, metadata.SNAPSHOT)
	want(t, kept, r.Files, reason.TUFRollback)
}

// TestN42PathTraversal: TUF metadata have names that would lead out of any folder.
func TestN42PathTraversal(t *testing.T) {
	for _, name := range []string{"../x", "/etc/passwd", "a/../../x", "a//b", "..\\x", "", ".", "a\x00b"} {
		t.Run(name, func(t *testing.T) {
			r, kept := updated(t)
			r.Targets.Signed.Targets[name] = r.Targets.Signed.Targets["trusted_root.json"]
			r.Publish(t, []byte("second"))
			want(t, kept, r.Files, reason.TUFPath)
			delete(r.Targets.Signed.Targets, name)
			r.Targets.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}, Roles: []metadata.DelegatedRole{{Name: name, KeyIDs: []string{}, Paths: []string{"*"}}}}
			r.Publish(t, []byte("second"))
			want(t, kept, r.Files, reason.TUFPath)
			r.Targets.Signed.Delegations = nil
			r.Snapshot.Signed.Meta[name] = metadata.MetaFile(1)
			r.Publish(t, []byte("second"))
			want(t, kept, r.Files, reason.TUFPath)
		})
	}
}

// TestFreeze serves genuine metadata for ever: from the day on which any role
// expires it is refused, with a kept copy as without.
func TestFreeze(t *testing.T) {
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		t.Run(role, func(t *testing.T) {
			r, kept := updated(t)
			at := now.Add(-time.Second)
			switch role {
			case metadata.ROOT:
				r.Root.Signed.Expires = at
				r.Root.Signed.Version++
				r.Put(t, role)
			case metadata.TIMESTAMP:
				r.Timestamp.Signed.Expires = at
			case metadata.SNAPSHOT:
				r.Snapshot.Signed.Expires = at
			case metadata.TARGETS:
				r.Targets.Signed.Expires = at
			}
			r.Publish(t, []byte("second"))
			want(t, kept, r.Files, reason.TUFExpired)
			want(t, tuf.Kept{Root: r.Files["1.root.json"]}, r.Files, reason.TUFExpired)
		})
	}
	r := verifytest.NewRepository(t, until.AddDate(1, 0, 0), []byte("first"))
	r.Timestamp.Signed.Expires = until
	r.Put(t, metadata.TIMESTAMP)
	u, err := tuf.Refresh(tuf.Kept{Root: r.Files["1.root.json"]}, serve(r.Files), now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tuf.Refresh(u.Kept, serve(r.Files), until.Add(time.Second))
	if e, ok := reason.Of(err); !ok || e.Code != reason.TUFExpired || !strings.Contains(e.What, "timestamp.json") {
		t.Errorf("what was seen before, when it has expired: %v", err)
	}
}

func TestRefreshRefuses(t *testing.T) {
	second := []byte("second")
	cases := map[string]struct {
		change func(t *testing.T, r *verifytest.Repository)
		code   reason.Code
	}{
		"absent": {func(_ *testing.T, r *verifytest.Repository) { delete(r.Files, "timestamp.json") }, reason.TUFAbsent},
		"absent-target": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			for name := range r.Files {
				if strings.HasPrefix(name, "targets/") {
					delete(r.Files, name)
				}
			}
		}, reason.TUFAbsent},
		"malformed":  {func(_ *testing.T, r *verifytest.Repository) { r.Files["timestamp.json"] = []byte("{") }, reason.TUFMalformed},
		"html":       {func(_ *testing.T, r *verifytest.Repository) { r.Files["timestamp.json"] = []byte("<html>") }, reason.TUFMalformed},
		"other-type": {func(_ *testing.T, r *verifytest.Repository) { r.Files["timestamp.json"] = r.Files["1.snapshot.json"] }, reason.TUFMalformed},
		"double": {func(_ *testing.T, r *verifytest.Repository) {
			r.Files["timestamp.json"] = bytes.Replace(r.Files["timestamp.json"], []byte(`"signed"`), []byte(`"signatures":[],"signed"`), 1)
		}, reason.TUFMalformed},
		"no-snapshot": {func(t *testing.T, r *verifytest.Repository) {
			r.Timestamp.Signed.Version++
			r.Timestamp.Signed.Meta = map[string]*metadata.MetaFiles{}
			r.Put(t, metadata.TIMESTAMP)
		}, reason.TUFMalformed},
		"unsigned": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			r.Timestamp.ClearSignatures()
			r.Files["timestamp.json"] = toBytes(t, r.Timestamp)
		}, reason.TUFSignature},
		"other-keys": {func(t *testing.T, r *verifytest.Repository) {
			theirs := verifytest.NewRepository(t, until, second)
			theirs.Publish(t, second)
			r.Files["timestamp.json"] = theirs.Files["timestamp.json"]
		}, reason.TUFSignature},
		"changed": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			r.Timestamp.Signed.Version++
			r.Files["timestamp.json"] = toBytes(t, r.Timestamp)
		}, reason.TUFSignature},
		"threshold": {func(t *testing.T, r *verifytest.Repository) { // two keys must sign, and one does
			r.Rotate(t, metadata.TARGETS)
			r.Root.Signed.Roles[metadata.TARGETS].Threshold = 2
			r.Root.Signed.Version++
			r.Put(t, metadata.ROOT)
			r.Publish(t, second)
		}, reason.TUFSignature},
		"usurped-root": {func(t *testing.T, r *verifytest.Repository) { // signed by the new keys alone
			r.Rotate(t, metadata.ROOT)
			r.Put(t, metadata.ROOT)
		}, reason.TUFSignature},
		"half-root": {func(t *testing.T, r *verifytest.Repository) { // signed by the old keys alone
			r.Rotate(t, metadata.ROOT)
			old, err := metadata.Root().FromBytes(r.Files["1.root.json"])
			if err != nil {
				t.Fatal(err)
			}
			half, err := metadata.Root().FromBytes(r.Files["2.root.json"])
			if err != nil {
				t.Fatal(err)
			}
			half.Signatures = slices.DeleteFunc(half.Signatures, func(s metadata.Signature) bool { return s.KeyID != old.Signatures[0].KeyID })
			if len(half.Signatures) != 1 {
				t.Fatalf("%d signatures by the old key", len(half.Signatures))
			}
			r.Files["2.root.json"] = toBytes(t, half)
		}, reason.TUFSignature},
		"skipped-root": {func(t *testing.T, r *verifytest.Repository) {
			r.Rotate(t, metadata.TIMESTAMP)
			r.Rotate(t, metadata.TIMESTAMP)
			r.Files["2.root.json"] = r.Files["3.root.json"]
		}, reason.TUFMismatch},
		"mixed": {func(t *testing.T, r *verifytest.Repository) { // targets of another day, rightly signed
			old := r.Files["1.targets.json"]
			r.Publish(t, second)
			r.Files["2.targets.json"] = old
		}, reason.TUFMismatch},
		"mixed-snapshot": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			r.Snapshot.Signed.Version++
			r.Put(t, metadata.SNAPSHOT)
			r.Files["2.snapshot.json"] = r.Files["3.snapshot.json"]
		}, reason.TUFMismatch},
		"snapshot-hash": {func(t *testing.T, r *verifytest.Repository) {
			r.Timestamp.Signed.Meta["snapshot.json"].Hashes = metadata.Hashes{"sha256": make([]byte, 32)}
			r.Publish(t, second)
		}, reason.TUFMismatch},
		"target-changed": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			for name := range r.Files {
				if strings.HasPrefix(name, "targets/") {
					r.Files[name] = []byte("secomd")
				}
			}
		}, reason.TUFMismatch},
		"target-short": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			for name := range r.Files {
				if strings.HasPrefix(name, "targets/") {
					r.Files[name] = []byte("se")
				}
			}
		}, reason.TUFMismatch},
		"no-target": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			delete(r.Targets.Signed.Targets, "trusted_root.json")
			r.Put(t, metadata.TARGETS)
		}, reason.TUFTargetAbsent},
		"no-hash": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			r.Targets.Signed.Targets["trusted_root.json"].Hashes = metadata.Hashes{}
			r.Put(t, metadata.TARGETS)
		}, reason.TUFMalformed},
		"large-target": {func(t *testing.T, r *verifytest.Repository) {
			r.Publish(t, second)
			r.Targets.Signed.Targets["trusted_root.json"].Length = 4<<20 + 1
			r.Put(t, metadata.TARGETS)
		}, reason.TUFTooLarge},
		"many-roots": {func(t *testing.T, r *verifytest.Repository) {
			for range 256 {
				r.Root.Signed.Version++
				r.Put(t, metadata.ROOT)
			}
		}, reason.TUFTooLarge},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, kept := updated(t)
			c.change(t, r)
			want(t, kept, r.Files, c.code)
		})
	}
}

// TestPassThrough leaves what the fetch could not do as it was said.
func TestPassThrough(t *testing.T) {
	r, kept := updated(t)
	for _, name := range []string{"2.root.json", "timestamp.json"} {
		down := &reason.Error{Code: reason.DocumentUnreachable, What: "read"}
		_, err := tuf.Refresh(kept, func(file string, limit int64) ([]byte, error) {
			if file == name {
				return nil, down
			}
			return serve(r.Files)(file, limit)
		}, now)
		if !errors.Is(err, down) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnchor(t *testing.T) {
	if err := tuf.CheckRoot(tuf.PublicGoodRoot()); err != nil {
		t.Errorf("the public-good root: %v", err)
	}
	r := verifytest.NewRepository(t, until, []byte("first"))
	good := r.Files["1.root.json"]
	r.Root.ClearSignatures()
	for name, raw := range map[string][]byte{
		"empty": nil, "text": []byte("root"), "trailing": append(bytes.Clone(good), "{}"...), "unsigned": toBytes(t, r.Root),
		"timestamp": r.Files["timestamp.json"], "null": []byte(`{"signatures":[],"signed":{"_type":"root","roles":{"root":null}}}`),
		"null-key":  []byte(`{"signatures":[],"signed":{"_type":"root","keys":{"a":null},"roles":{"root":{"keyids":["a"],"threshold":1}}}}`),
		"too-large": append(bytes.Clone(good), bytes.Repeat([]byte(" "), tuf.MaxRoot)...),
	} {
		want(t, tuf.Kept{Root: raw}, r.Files, reason.TUFRootInvalid)
		if e, ok := reason.Of(tuf.CheckRoot(raw)); !ok || e.Code != reason.TUFRootInvalid {
			t.Errorf("%s: accepted", name)
		}
	}
}

func toBytes[T metadata.Roles](t *testing.T, m *metadata.Metadata[T]) []byte {
	t.Helper()
	raw, err := m.ToBytes(true)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
