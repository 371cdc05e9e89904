//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// station is a user with a clock of the test's, and a TUF repository that is served
// both ways.
type station struct {
	t    *testing.T
	root string
	now  time.Time
	repo *verifytest.Repository
	url  string // of the repository, on loopback
	dir  string // the same in a folder, as of the last mirror
	main bool   // update from the URL; from the folder otherwise
}

func newStation(t *testing.T, target []byte, overHTTP bool) *station {
	t.Helper()
	s := &station{t: t, root: t.TempDir(), now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC), dir: filepath.Join(t.TempDir(), "mirror"), main: overHTTP}
	s.repo = verifytest.NewRepository(t, s.now.AddDate(0, 0, 7), target)
	if err := os.WriteFile(filepath.Join(s.root, "anchor.json"), s.repo.Files["1.root.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := s.repo.Files[strings.TrimPrefix(r.URL.Path, "/tuf/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(raw)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/tuf"
	return s
}

// run runs one command in this process.
func (s *station) run(args ...string) answer {
	s.t.Helper()
	var out, errs bytes.Buffer
	w := world{out: &out, err: &errs, env: func(string) (string, bool) { return "", false }, now: func() time.Time { return s.now }, root: s.root}
	status := dispatch(w, args)
	return answer{status, out.String(), errs.String()}
}

// update updates from the repository as it is now.
func (s *station) update(more ...string) answer {
	s.t.Helper()
	at := s.url
	if !s.main {
		if err := os.RemoveAll(s.dir); err != nil {
			s.t.Fatal(err)
		}
		if err := os.Mkdir(s.dir, 0o755); err != nil {
			s.t.Fatal(err)
		}
		verifytest.WriteFiles(s.t, s.dir, s.repo.Files)
		at = s.dir
	}
	return s.run(append([]string{"trust", "update", "--from", at}, more...)...)
}

// inForce is what trust show says.
func (s *station) inForce() (shown rootShown) {
	s.t.Helper()
	a := s.run("trust", "show", "--json")
	if err := json.Unmarshal([]byte(a.out), &shown); err != nil || a.status != 0 {
		s.t.Fatalf("status %d, %v: %s%s", a.status, err, a.out, a.err)
	}
	return shown
}

// state is every byte of the installed root.
func (s *station) state() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(s.root, "state", "trust", "roots", "*"))
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			s.t.Fatal(err)
		}
		all[f] = string(raw)
	}
	return all
}

func both(t *testing.T, f func(t *testing.T, overHTTP bool)) {
	t.Helper()
	t.Run("url", func(t *testing.T) { f(t, true) })
	t.Run("folder", func(t *testing.T) { f(t, false) })
}

// TestTrustUpdate follows a repository from its first root: what it signs next is in
// force without a further word, and what replaces another's root is not.
func TestTrustUpdate(t *testing.T) {
	first, second := verifytest.New(t).Root(), verifytest.New(t).Root()
	both(t, func(t *testing.T, overHTTP bool) {
		s := newStation(t, first, overHTTP)
		anchor := filepath.Join(s.root, "anchor.json")
		if a := s.update(); a.status != 1 && a.status != 4 { // another repository's keys
			t.Errorf("without its root: status %d, %s", a.status, a.err)
		}
		if a := s.update("--tuf-root", anchor); a.status != 4 || !strings.Contains(a.err, string(reason.TrustRootRewound)) {
			t.Errorf("in the public-good root's place: status %d, %s", a.status, a.err)
		}
		if by := s.inForce().By; by != "embedded" {
			t.Fatalf("after refusals: %s", by)
		}
		ok := func(a answer, root []byte, v tufShown) {
			t.Helper()
			if a.status != 0 {
				t.Fatalf("status %d: %s", a.status, a.err)
			}
			in := s.inForce()
			if in.By != "tuf" || in.Root != digest.FromBytes(root) || in.TUF == nil || *in.TUF != v || in.Date != s.now.Format(time.DateOnly) || *in.AgeDays != 0 || in.Old {
				t.Errorf("in force: %+v %+v", in, in.TUF)
			}
		}
		ok(s.update("--tuf-root", anchor, "--replace"), first, tufShown{1, 1, 1, 1})
		ok(s.run("trust", "update"), first, tufShown{1, 1, 1, 1}) // where it was the last time
		ok(s.update("--tuf-root", anchor), first, tufShown{1, 1, 1, 1})

		s.repo.Rotate(t, metadata.ROOT)
		s.repo.Publish(t, second)
		s.now = s.now.AddDate(0, 0, 1)
		ok(s.update(), second, tufShown{2, 2, 2, 2})
		if st, err := os.Stat(filepath.Join(s.root, "state", "trust", "roots")); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("the folder: %v %v", st.Mode(), err)
		}
		for file := range s.state() {
			if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", file, st.Mode(), err)
			}
		}
		for range 3 { // what is no longer named goes
			s.repo.Publish(t, second)
			s.update()
		}
		if n := len(s.state()); n != 9 { // the record, a root, four of TUF, and the three that the last update replaced
			t.Errorf("%d files are kept", n)
		}

		// It grows old.
		s.now = s.now.AddDate(0, 0, 181)
		if in := s.inForce(); *in.AgeDays != 181 || !in.Old {
			t.Errorf("after 181 days: %+v", in)
		}
		if a := s.run("trust", "show"); !strings.Contains(a.out, "181 days old: over 180, ztlaunch trust update") {
			t.Errorf("nobody is told: %s", a.out)
		}
		a := s.run("audit", "show")
		if strings.Count(a.out, " trust ") < 4 || !strings.Contains(a.out, "trust-root-rewound") {
			t.Errorf("not on record: %s", a.out)
		}
		if a := s.run("audit", "verify"); a.status != 0 {
			t.Errorf("the log: %s", a.err)
		}
	})
}

// TestTrustUpdateAfterAdd keeps what was seen of a repository behind a root that was
// added from a file.
func TestTrustUpdateAfterAdd(t *testing.T) {
	first, second := verifytest.New(t).Root(), verifytest.New(t).Root()
	s := newStation(t, first, false)
	old := s.repo.Saved()
	s.repo.Publish(t, first)
	if a := s.update("--tuf-root", filepath.Join(s.root, "anchor.json"), "--replace"); a.status != 0 {
		t.Fatal(a.err)
	}
	file := filepath.Join(s.root, "second.json")
	if err := os.WriteFile(file, second, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := s.run("trust", "add", file); a.status != 4 || !strings.Contains(a.err, string(reason.TrustRootRewound)) {
		t.Fatalf("status %d, %s", a.status, a.err)
	}
	if a := s.run("trust", "add", "--replace", file); a.status != 0 {
		t.Fatal(a.err)
	}
	if a := s.update(); a.status != 4 || !strings.Contains(a.err, string(reason.TrustRootRewound)) {
		t.Errorf("a file's root dropped without a word: status %d, %s", a.status, a.err)
	}
	good := s.repo.Files
	s.repo.Files = old
	if a := s.update("--replace"); a.status != 4 || !strings.Contains(a.err, string(reason.TUFRollback)) {
		t.Errorf("rolled back behind a file: status %d, %s", a.status, a.err)
	}
	s.repo.Files = good
	if a := s.update("--replace"); a.status != 0 {
		t.Error(a.err)
	}
	// The same bytes from a file change nothing, and not whose word they are.
	if err := os.WriteFile(file, first, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := s.run("trust", "add", file); a.status != 0 || s.inForce().By != "tuf" {
		t.Errorf("the same again: status %d, %+v %s", a.status, s.inForce(), a.err)
	}
	// Another repository takes the word, even for the same target, and what was kept of
	// this one then goes.
	same := verifytest.NewRepository(t, s.now.AddDate(0, 0, 7), first)
	if err := os.WriteFile(filepath.Join(s.root, "same.json"), same.Files["1.root.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	s.repo = same
	if a := s.update("--tuf-root", filepath.Join(s.root, "same.json")); a.status != 4 || !strings.Contains(a.err, string(reason.TrustRootRewound)) {
		t.Errorf("another repository with the same target: status %d, %s", a.status, a.err)
	}
	other := verifytest.NewRepository(t, s.now.AddDate(0, 0, 7), second)
	anchor := filepath.Join(s.root, "other.json")
	if err := os.WriteFile(anchor, other.Files["1.root.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	s.repo = other
	if a := s.update("--tuf-root", anchor); a.status != 4 || !strings.Contains(a.err, string(reason.TrustRootRewound)) {
		t.Errorf("another repository: status %d, %s", a.status, a.err)
	}
	if a := s.update("--tuf-root", anchor, "--replace"); a.status != 0 || s.inForce().Root != digest.FromBytes(second) {
		t.Errorf("another repository, with the word: status %d, %s", a.status, a.err)
	}
}

// TestTrustUpdateRefuses leaves what is in force, byte for byte, and says what was
// expected, what was found and what comes next.
func TestTrustUpdateRefuses(t *testing.T) {
	first, second := verifytest.New(t).Root(), verifytest.New(t).Root()
	cases := map[string]struct {
		change func(s *station)
		code   reason.Code
		status int
	}{
		"rollback":      {func(s *station) { s.repo.Timestamp.Signed.Version = 1; s.repo.Put(s.t, metadata.TIMESTAMP) }, reason.TUFRollback, 4},
		"rollback-root": {func(s *station) { s.repo.Files["2.root.json"] = s.repo.Files["1.root.json"] }, reason.TUFRollback, 4},
		"frozen":        {func(s *station) { s.now = s.now.AddDate(0, 0, 8) }, reason.TUFExpired, 4},
		"stranger":      {func(s *station) { s.repo.Files = verifytest.NewRepository(s.t, s.now.AddDate(1, 0, 0), second).Files }, reason.TUFSignature, 1},
		"mixed":         {func(s *station) { s.repo.Files["3.targets.json"] = s.repo.Files["2.targets.json"] }, reason.TUFMismatch, 1},
		"target-changed": {func(s *station) {
			changeTargets(s.repo.Files, func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw })
		}, reason.TUFMismatch, 1},
		"target-long":    {func(s *station) { changeTargets(s.repo.Files, func(raw []byte) []byte { return append(raw, ' ') }) }, reason.DocumentTooLarge, 1},
		"target-no-root": {func(s *station) { s.repo.Publish(s.t, []byte("{}")) }, reason.TrustRootMalformed, 2},
		"oversize":       {func(s *station) { s.repo.Files["timestamp.json"] = bytes.Repeat([]byte(" "), 1<<20) }, reason.DocumentTooLarge, 1},
		"traversal": {func(s *station) {
			s.repo.Targets.Signed.Targets["../../record.json"] = s.repo.Targets.Signed.Targets["trusted_root.json"]
			s.repo.Publish(s.t, second)
		}, reason.TUFPath, 1},
		"not-there": {func(s *station) { delete(s.repo.Files, "timestamp.json") }, reason.TUFAbsent, 3},
		"malformed": {func(s *station) { s.repo.Files["timestamp.json"] = []byte("<html>") }, reason.TUFMalformed, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, overHTTP bool) {
				s := newStation(t, first, overHTTP)
				if a := s.update("--tuf-root", filepath.Join(s.root, "anchor.json"), "--replace"); a.status != 0 {
					t.Fatal(a.err)
				}
				s.repo.Publish(t, first)
				if a := s.update(); a.status != 0 {
					t.Fatal(a.err)
				}
				s.repo.Publish(t, second)
				c.change(s)
				before := s.state()
				a := s.update()
				if a.status != c.status || !strings.Contains(a.err, ": "+string(c.code)+": ") {
					t.Errorf("status %d, want %d and %s: %s", a.status, c.status, c.code, a.err)
				}
				for _, line := range []string{"expected: ", "found: ", "next: "} {
					if !strings.Contains(a.err, line) {
						t.Errorf("no %q in %s", line, a.err)
					}
				}
				if !maps.Equal(before, s.state()) || s.inForce().Root != digest.FromBytes(first) {
					t.Error("a refused update changed what is in force")
				}
				if a := s.run("audit", "show"); !strings.Contains(a.out, string(c.code)) {
					t.Errorf("a refusal is not on record: %s", a.out)
				}
			})
		})
	}
}

func changeTargets(files map[string][]byte, change func([]byte) []byte) {
	for name, raw := range files {
		if strings.HasPrefix(name, "targets/") {
			files[name] = change(bytes.Clone(raw))
		}
	}
}

// TestTrustKeptChanged starts from no metadata that is not what was seen.
func TestTrustKeptChanged(t *testing.T) {
	s := newStation(t, verifytest.New(t).Root(), false)
	anchor := filepath.Join(s.root, "anchor.json")
	if a := s.update("--tuf-root", anchor, "--replace"); a.status != 0 {
		t.Fatal(a.err)
	}
	for _, role := range []string{"1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"} {
		raw := s.repo.Files[role]
		file := filepath.Join(s.root, "state", "trust", "roots", digest.FromBytes(raw).Encoded()+".json")
		if err := os.WriteFile(file, append(bytes.Clone(raw), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		if a := s.update(); a.status != 1 || !strings.Contains(a.err, string(reason.TrustRootChanged)) {
			t.Errorf("%s: status %d, %s", role, a.status, a.err)
		}
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if a := s.update(); a.status != 0 {
		t.Error(a.err)
	}
}

// TestTrustUnrecorded puts nothing in force that cannot be recorded.
func TestTrustUnrecorded(t *testing.T) {
	s := newStation(t, verifytest.New(t).Root(), false)
	if err := os.MkdirAll(filepath.Join(s.root, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.root, "state", "audit"), nil, 0o600); err != nil { // no folder
		t.Fatal(err)
	}
	if a := s.update("--tuf-root", filepath.Join(s.root, "anchor.json"), "--replace"); a.status == 0 || !strings.Contains(a.err, "audit-unwritable") {
		t.Errorf("status %d, %s", a.status, a.err)
	}
	if by := s.inForce().By; by != "embedded" {
		t.Errorf("in force: %s", by)
	}
}
