package admit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// lockText is a lock as a person would see it.
const lockText = `# ztlaunch.lock: what was admitted, by digest. Made by ztlaunch lock; review its changes.
version: 1
entries:
  - name: "registry.example/agents/coder"
    kind: image
    tag: "1.4"
    digest: sha256:1bc04b5291c26a46d918139138b992d2de976d6851d0893b0476b85bfbdfc6e6
    platforms:
      - {platform: "linux/amd64", manifest: "sha256:bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e11"}
      - {platform: "linux/arm64", manifest: "sha256:2bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1"}
    signers:
      - "https://github.com/acme/agent/.github/workflows/release.yml@refs/tags/v1.4 (https://token.actions.githubusercontent.com)"
    evidence:
      - "sha256:3bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1"
    verified: "2026-06-01T12:00:00Z"
  - name: "models/small"
    kind: model
    from: "model:./models/small"
    digest: sha256:4bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1
    signers:
      - "key sha256:5bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1"
    evidence: []
    policy: sha256:8bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1
    met:
      - "models[0].require[0].signature: signature by release"
    verified: "2026-06-01T12:00:00Z"
  - name: "registry.example:5000/mcp/files"
    kind: mcp
    tag: "1"
    digest: sha256:6bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1
    platforms:
      - {platform: "linux/amd64", manifest: "sha256:6bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1"}
    signers: []
    evidence: []
    pin: sha256:7bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1
    verified: "2026-06-01T12:00:00Z"
`

func TestLockText(t *testing.T) {
	l, err := ParseLock([]byte(lockText), "ztlaunch.lock")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(l.Encode()); got != lockText {
		t.Errorf("written:\n%s", got)
	}
	if len(l.Entries()) != 3 {
		t.Fatalf("%d entries", len(l.Entries()))
	}
	e, ok := l.Find(artifact.Image, "registry.example/agents/coder", "1.4")
	if !ok || len(e.Platforms) != 2 || e.Verified != now || len(e.Signers) != 1 {
		t.Errorf("entry %+v, %v", e, ok)
	}
	if _, ok := l.Find(artifact.Model, "registry.example/agents/coder", "1.4"); ok {
		t.Error("found under another kind")
	}
	if _, ok := l.Find(artifact.Image, "registry.example/agents/coder", ""); ok {
		t.Error("found under another tag")
	}
	empty := Lock{}.Encode()
	if l, err := ParseLock(empty, "l"); err != nil || len(l.Entries()) != 0 {
		t.Errorf("the empty lock: %v", err)
	}
}

// TestParseLock spoils the text in one place at a time.
func TestParseLock(t *testing.T) {
	first := lockText[strings.Index(lockText, "  - name"):strings.Index(lockText, "  - name: \"models")]
	for _, c := range []struct {
		name, old, new string
		want           reason.Code
	}{
		{"version", "version: 1", "version: 2", reason.FormValue},
		{"no-version", "version: 1\n", "", reason.FormMissingKey},
		{"unknown-key", "    verified", "    trusted: true\n    verified", reason.FormUnknownKey},
		{"duplicate-key", "    kind: image", "    kind: image\n    kind: image", reason.FormDuplicateKey},
		{"entry-twice", "entries:\n", "entries:\n" + first, reason.LockInvalid},
		{"kind", "kind: image", "kind: picture", reason.FormValue},
		{"kind-lies", "kind: image", "kind: model", reason.LockInvalid},
		{"no-digest", "    digest: sha256:4bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1\n", "", reason.FormMissingKey},
		{"digest-short", "sha256:4bd7", "sha256:bd7", reason.FormValue},
		{"digest-path", "digest: sha256:4bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1", "digest: \"sha256:../../etc/passwd\"", reason.FormValue},
		{"digest-sha512", "digest: sha256:4bd7", "digest: sha512:4bd7", reason.FormValue},
		{"name-tag", `"registry.example/agents/coder"`, `"registry.example/agents/coder:1"`, reason.LockInvalid},
		{"name-short", `"registry.example/agents/coder"`, `"coder"`, reason.LockInvalid},
		{"name-scheme", `"registry.example/agents/coder"`, `"oci-layout:./x"`, reason.LockInvalid},
		{"name-number", `"registry.example/agents/coder"`, `7`, reason.FormValue},
		{"platform-twice", "linux/arm64", "linux/amd64", reason.LockInvalid},
		{"platform-spelling", "linux/arm64", "linux/arm64/v8", reason.FormValue},
		{"platform-none", "linux/arm64", "linux", reason.FormValue},
		{"from-name", "model:./models/small", "registry.example/models/small:1", reason.LockInvalid},
		{"from-kind", "model:./models/small", "oci-layout:./models/small", reason.LockInvalid},
		{"from-spelling", "model:./models/small", "./models/small", reason.LockInvalid},
		{"from-tag", "    tag: \"1\"\n", "    tag: \"1\"\n    from: \"oci-layout:./files\"\n", reason.LockInvalid},
		{"met-text", "met:\n      - \"models[0].require[0].signature: signature by release\"", "met: all", reason.FormValue},
		{"policy-short", "policy: sha256:8bd7", "policy: sha256:bd7", reason.FormValue},
		{"time", "2026-06-01T12:00:00Z", "yesterday", reason.FormValue},
		{"time-fraction", "2026-06-01T12:00:00Z", "2026-06-01T12:00:00.5Z", reason.FormValue},
		{"pin-of-image", "    signers:\n      - \"https", "    pin: sha256:7bd72d5e4f0a4c1b6d1d0f2f8f2a9d0f0c2f0a8d9f3d3d3a54ad3f6a0a4cf2e1\n    signers:\n      - \"https", reason.LockInvalid},
		{"trailing", "version: 1", "version: 1\n---\nversion: 1", reason.FormUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(lockText, c.old, c.new, 1)
			if text == lockText {
				t.Fatal("nothing was spoiled")
			}
			l, err := ParseLock([]byte(text), "l")
			if e, ok := reason.Of(err); !ok || e.Code != c.want || len(l.Entries()) != 0 {
				t.Errorf("error = %v, want %s", err, c.want)
			}
		})
	}
}

// TestCompare changes what was locked in one place at a time.
func TestCompare(t *testing.T) {
	s := build(t, "registry.example/mcp/files:1", artifact.MCP, "index")
	a := s.admit(t)
	entry, err := NewEntry(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := entry.Compare(a); err != nil {
		t.Fatalf("against itself: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*Entry)
		want   reason.Code
	}{
		"index":     {func(e *Entry) { e.Digest = sum("old"); e.Platforms[0].Manifest = sum("old") }, reason.TagMoved},
		"manifest":  {func(e *Entry) { e.Platforms[0].Manifest = sum("old") }, reason.TagMoved},
		"platform":  {func(e *Entry) { e.Platforms[0].Platform = "linux/arm64" }, reason.LockStale},
		"none":      {func(e *Entry) { e.Platforms = nil }, reason.LockStale},
		"name":      {func(e *Entry) { e.Name = "registry.example/mcp/other" }, reason.LockStale},
		"kind":      {func(e *Entry) { e.Kind = artifact.Image }, reason.LockStale},
		"signers":   {func(e *Entry) { e.Signers = []string{"somebody"} }, reason.LockStale},
		"more":      {func(e *Entry) { e.Signers = append(e.Signers, "somebody") }, reason.LockStale},
		"pin":       {func(e *Entry) { e.Pin = sum("other tools") }, reason.LockStale},
		"no-pin":    {func(e *Entry) { e.Pin = "" }, reason.LockStale},
		"evidence":  {func(e *Entry) { e.Evidence = nil }, ""},
		"verified":  {func(e *Entry) { e.Verified = now.AddDate(-1, 0, 0) }, ""},
		"direct":    {func(e *Entry) { e.Digest = sum("another index") }, ""}, // the manifest is still the locked one
		"zero-age":  {func(*Entry) {}, ""},
		"other-tag": {func(e *Entry) { e.Tag = "2" }, ""}, // Find looks at tags
	} {
		t.Run(name, func(t *testing.T) {
			e := entry
			e.Platforms = append([]Platform(nil), entry.Platforms...)
			c.change(&e)
			err := e.Compare(a)
			got, _ := reason.Of(err)
			if c.want == "" && err != nil || c.want != "" && (got == nil || got.Code != c.want || got.Expected == "" || got.Found == "" || got.Next == "") {
				t.Errorf("error = %v, want %q", err, c.want)
			}
		})
	}
	if entry.Compare(Admission{}) == nil {
		t.Error("nothing was found to be the same")
	}
}

// TestResolvesModel: where there are no platforms, the digest alone decides.
func TestResolvesModel(t *testing.T) {
	ref, err := artifact.Parse("model:./small")
	if err != nil {
		t.Fatal(err)
	}
	a, err := artifact.Pin(artifact.Pinned{Ref: ref.Named("models/small"), Manifest: sum("files")})
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{Name: "models/small", Kind: artifact.Model, Digest: sum("files")}
	if err := e.Resolves(a); err != nil {
		t.Errorf("the same files: %v", err)
	}
	e.Digest = sum("other files")
	if got, ok := reason.Of(e.Resolves(a)); !ok || got.Code != reason.TagMoved {
		t.Errorf("other files: %v", got)
	}
}

// TestWith adds, replaces and keeps other platforms of the same index.
func TestWith(t *testing.T) {
	s := build(t, coder, artifact.Image, "index")
	e, err := NewEntry(s.admit(t))
	if err != nil {
		t.Fatal(err)
	}
	l := Lock{}.With(e)
	arm := e
	arm.Platforms = []Platform{{"linux/arm64", sum("arm")}}
	l2 := l.With(arm)
	if got := l2.Entries(); len(got) != 1 || len(got[0].Platforms) != 2 || got[0].Platforms[0].Platform != "linux/amd64" {
		t.Errorf("entries %+v", got)
	}
	if len(l.Entries()[0].Platforms) != 1 {
		t.Error("the first lock was changed")
	}
	moved := arm
	moved.Digest = sum("new index")
	if got := l2.With(moved).Entries(); len(got) != 1 || len(got[0].Platforms) != 1 {
		t.Errorf("entries %+v", got)
	}
	older := e
	older.Tag = "1.3"
	if got := l2.With(older).Entries(); len(got) != 2 || got[0].Tag != "1.3" {
		t.Errorf("entries %+v", got)
	}
	back, err := ParseLock(l2.With(older).Encode(), "l")
	if err != nil || !bytes.Equal(back.Encode(), l2.With(older).Encode()) {
		t.Errorf("read back %+v, %v", back, err)
	}
}

// TestCalled: what people may call an entry by, and where it is to be had.
func TestCalled(t *testing.T) {
	l, err := ParseLock([]byte(lockText), "l")
	if err != nil {
		t.Fatal(err)
	}
	all := l.Entries()
	for word, want := range map[string]string{
		"registry.example/agents/coder": "coder", "registry.example/agents/coder:1.4": "coder", "registry.example/agents/coder:1.5": "",
		"models/small": "small", "model:./models/small": "small", "small": "", "": "", "registry.example:5000/mcp/files:1": "files",
	} {
		got := ""
		for _, e := range all {
			if e.Called(word) {
				got += e.Name[strings.LastIndexByte(e.Name, '/')+1:]
			}
		}
		if got != want {
			t.Errorf("%q means %q, want %q", word, got, want)
		}
	}
	var where []string
	for _, e := range all {
		ref, err := e.Reference()
		if err != nil || ref.Kind() != e.Kind || ref.Name() != e.Name || ref.Tag() != e.Tag {
			t.Errorf("%s is to be had at %v, %v", e.Name, ref, err)
		}
		where = append(where, fmt.Sprintf("%s:%d", ref, e.Line))
	}
	if want := []string{"registry.example/agents/coder:1.4:4", "model:./models/small:16", "registry.example:5000/mcp/files:1:27"}; !slices.Equal(where, want) {
		t.Errorf("%q, want %q", where, want)
	}
	bare := all[1]
	bare.From = ""
	if _, err := bare.Reference(); err == nil || !strings.Contains(err.Error(), string(reason.LockInvalid)) {
		t.Errorf("a model that lies nowhere: %v", err)
	}
	digest := all[0]
	digest.Tag = ""
	if ref, err := digest.Reference(); err != nil || ref.Digest() != digest.Digest || ref.Tag() != "" {
		t.Errorf("without a tag: %v, %v", ref, err)
	}
}

// TestExtended: another platform of the same index is news, and anything else is not
// taken for one.
func TestExtended(t *testing.T) {
	s := build(t, coder, artifact.Image, "index")
	a := s.admit(t)
	e, err := NewEntry(a)
	if err != nil {
		t.Fatal(err)
	}
	arm := e
	arm.Platforms = []Platform{{"linux/arm64", sum("arm")}}
	if arm.Compare(a) == nil {
		t.Error("a platform that is not locked passes")
	}
	if got := arm.Extended(a.Artifact()); got.Compare(a) != nil || len(got.Platforms) != 2 || len(arm.Platforms) != 1 || got.Platforms[0].Platform != "linux/amd64" {
		t.Errorf("extended to %+v", got)
	}
	other := arm
	other.Digest = sum("another index")
	same := e
	same.Platforms = []Platform{{"linux/amd64", sum("another manifest")}}
	for _, e := range []Entry{other, same} {
		if got := e.Extended(a.Artifact()); len(got.Platforms) != 1 || got.Resolves(a.Artifact()) == nil {
			t.Errorf("extended to %+v", got)
		}
	}
}

// TestSame: what differs in more than its time and place is another entry.
func TestSame(t *testing.T) {
	l, err := ParseLock([]byte(lockText), "l")
	if err != nil {
		t.Fatal(err)
	}
	e := l.Entries()[1]
	o := e
	o.Verified, o.Line = now.AddDate(1, 0, 0), 99
	if !e.Same(o) {
		t.Error("another time or line is another entry")
	}
	for name, change := range map[string]func(*Entry){"digest": func(e *Entry) { e.Digest = sum("x") }, "from": func(e *Entry) { e.From = "model:./x" },
		"met": func(e *Entry) { e.Met = nil }, "evidence": func(e *Entry) { e.Evidence = append(e.Evidence, sum("x")) }} {
		o := e
		if change(&o); e.Same(o) {
			t.Errorf("another %s is the same", name)
		}
	}
}

// TestEntryEvidence: an entry names every envelope once.
func TestEntryEvidence(t *testing.T) {
	s := build(t, coder, artifact.Image, "")
	s.claim(t, evidence.PredicateCosignSign, map[string]any{})
	e, err := NewEntry(s.admit(t))
	if err != nil || len(e.Evidence) != 1 || e.Digest != sum("manifest") {
		t.Errorf("entry %+v, %v", e, err)
	}
}

// FuzzParseLock: what is read is written in one form, and read back the same. Another
// form of the same lock, as an editor leaves it, is not kept.
func FuzzParseLock(f *testing.F) {
	f.Add([]byte(lockText))
	f.Add(Lock{}.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := ParseLock(raw, "l")
		if err != nil {
			if e, ok := reason.Of(err); !ok || e.Code.Class() != reason.Usage {
				t.Fatalf("error %v", err)
			}
			return
		}
		text := l.Encode()
		back, err := ParseLock(text, "l")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !bytes.Equal(back.Encode(), text) {
			t.Fatalf("not the same:\n%s\n%s", text, back.Encode())
		}
	})
}
