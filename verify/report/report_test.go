package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// cases are decisions by what was signed and what the policy wants.
func cases() map[string]func(t *testing.T) Verdict {
	const strict = "images: [{match: registry.example/agents/coder, require: [{signature: {by: [release]}}, {sbom: {by: [release], covers: executables}}]}]\n"
	adopted := `images: [{match: registry.example/agents/coder, digests: ["` + digest.FromString("manifest").String() + `"], reason: built here, until: 2026-07-01, require: [{signature: {by: [release]}}]}]` + "\n"
	return map[string]func(t *testing.T) Verdict{
		"allowed":  func(t *testing.T) Verdict { return decide(t, strict, "sign", "sbom") },
		"unlisted": func(t *testing.T) Verdict { return decide(t, strict, "sign", "sbom", "backdoor") },
		"unsigned": func(t *testing.T) Verdict { return decide(t, strict) },
		"feed":     func(t *testing.T) Verdict { return decide(t, strict, "sign", "sbom", "feed") },
		"adopted":  func(t *testing.T) Verdict { return decide(t, adopted, "sign") },
		"no-match": func(t *testing.T) Verdict { return decide(t, strings.ReplaceAll(strict, "coder", "other"), "sign") },
		"undecided": func(*testing.T) Verdict {
			return Failed("registry.example/agents/coder:1.4", fmt.Errorf("verify: %w", &reason.Error{Code: reason.EvidenceUnreached, What: "ask registry.example",
				Expected: "an answer", Found: "a timeout", Next: "try again", Err: errors.New("i/o timeout")}))
		},
		"internal": func(*testing.T) Verdict { return Failed("registry.example/agents/coder:1.4", errors.New("boom")) },
	}
}

// decide makes a decision about an image of one program, or two.
func decide(t *testing.T, rules string, has ...string) Verdict {
	t.Helper()
	with := func(word string) bool { return strings.Contains(" "+strings.Join(has, " ")+" ", " "+word+" ") }
	key := verifytest.NewKey(t)
	public, err := trust.ParseKey(key.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	root := trust.Root{}.With(public)
	quoted, err := json.Marshal(string(key.Public(t)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse([]byte("identities: {release: {key: "+string(quoted)+"}}\n"+rules), "/etc/ztlaunch/policy.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	in := policy.Input{Now: now, Purpose: policy.Run, Root: root.Digest()}
	ref, err := artifact.Parse("registry.example/agents/coder:1.4")
	if err != nil {
		t.Fatal(err)
	}
	pinned := artifact.Pinned{Ref: ref, Index: digest.FromString("index"), Manifest: digest.FromString("manifest"), ConfigDigest: digest.FromString("config"),
		Platform: artifact.Platform{OS: "linux", Architecture: "amd64"},
		Layers:   []artifact.Layer{{Digest: digest.FromString("layer"), DiffID: digest.FromString("diff"), MediaType: ocispec.MediaTypeImageLayer, Size: 1}}}
	pinned.Config.OS, pinned.Config.Architecture = "linux", "amd64"
	pinned.Config.RootFS.DiffIDs = []digest.Digest{digest.FromString("diff")}
	if in.Artifact, err = artifact.Pin(pinned); err != nil {
		t.Fatal(err)
	}
	program := func(path string, mode uint32) tree.Entry {
		return tree.Entry{Path: path, Type: tree.File, Mode: mode, Size: int64(len(path)), Digest: digest.FromString(path)}
	}
	entries := []tree.Entry{program("agent", 0o755), program("agent.conf", 0o644)}
	if with("backdoor") {
		entries = append(entries, program("back\x1b[31mdoor", 0o755))
	}
	if in.Tree, err = tree.FromFiles(entries); err != nil {
		t.Fatal(err)
	}
	claim := func(predicateType string, predicate any, subject digest.Digest) {
		e, err := evidence.Parse(key.Attest(t, verifytest.Statement(t, predicateType, predicate, subject.Encoded())))
		if err != nil {
			t.Fatal(err)
		}
		c, err := evidence.Check(e, root, []digest.Digest{subject}, now)
		if err != nil {
			t.Fatal(err)
		}
		in.Claims = append(in.Claims, c)
	}
	if with("sign") {
		claim(evidence.PredicateCosignSign, map[string]any{}, in.Artifact.Index())
	}
	if with("sbom") {
		claim(evidence.PredicateSPDX, map[string]any{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "files": []any{map[string]any{
			"SPDXID": "SPDXRef-1", "fileName": "agent", "checksums": []any{map[string]any{"algorithm": "SHA256", "checksumValue": digest.FromString("agent").Encoded()}}}}}, in.Artifact.Digest())
	}
	if with("feed") {
		if in.Feed, err = policy.ParseFeed([]byte(`{"schema": "ztlaunch.deny/v1", "serial": 7, "issued": "2026-05-31T10:30:00Z", "until": "2026-07-01T00:00:00Z"}`), "deny.json"); err != nil {
			t.Fatal(err)
		}
	}
	v := Of(policy.Evaluate(p, in), Origin{Local: true, RootDate: time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)})
	raw, err := JSON(v)
	if err != nil {
		t.Fatal(err)
	}
	// Keys, and what covers them, differ from run to run.
	text := strings.ReplaceAll(string(raw), public.ID(), "sha256:"+strings.Repeat("1", 64))
	text = strings.ReplaceAll(text, p.Digest().String(), "sha256:"+strings.Repeat("2", 64))
	text = strings.ReplaceAll(text, root.Digest().String(), "sha256:"+strings.Repeat("3", 64))
	text = strings.ReplaceAll(text, in.Tree.Digest().String(), "sha256:"+strings.Repeat("4", 64))
	for i, c := range in.Claims {
		text = strings.ReplaceAll(text, c.Envelope().String(), "sha256:"+strings.Repeat(string(rune('a'+i)), 64))
	}
	return read(t, []byte(text))
}

// read reads the JSON form back, strictly.
func read(t *testing.T, raw []byte) (v Verdict) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestViews holds both views of each case against their golden files, and the
// JSON form against itself.
func TestViews(t *testing.T) {
	all := cases()
	if len(all) < 7 {
		t.Fatalf("%d cases", len(all))
	}
	for name, make := range all {
		t.Run(name, func(t *testing.T) {
			v := make(t)
			raw, err := JSON(v)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", raw)
			golden(t, name+".txt", []byte(Text(v)))
			again, err := JSON(read(t, raw))
			if err != nil || !bytes.Equal(again, raw) {
				t.Errorf("read back and written again: %v\n%s", err, again)
			}
			if (v.Result == Allowed) != (v.Exit == 0) {
				t.Errorf("%s with exit %d", v.Result, v.Exit)
			}
			if i := strings.IndexFunc(Text(v), func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 {
				t.Errorf("a control character at %d of %q", i, Text(v))
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

// TestExit: the worst of several, and never 0 for none.
func TestExit(t *testing.T) {
	e := func(codes ...int) int {
		var all []Verdict
		for _, c := range codes {
			all = append(all, Verdict{Exit: c})
		}
		return Exit(all...)
	}
	for _, c := range []struct {
		codes []int
		want  int
	}{{nil, 5}, {[]int{0}, 0}, {[]int{0, 0}, 0}, {[]int{0, 3}, 3}, {[]int{4, 1, 3}, 1}, {[]int{1, 2}, 2}, {[]int{5, 2}, 5}} {
		if got := e(c.codes...); got != c.want {
			t.Errorf("%v exits %d, want %d", c.codes, got, c.want)
		}
	}
	if v := Of(policy.Decision{}, Origin{}); v.Result != Denied || v.Exit != 5 {
		t.Errorf("the zero decision: %+v", v)
	}
}

// TestFailed: a verdict without a decision is denied where its status says so, and
// undecided elsewhere, in every view.
func TestFailed(t *testing.T) {
	for code, want := range map[reason.Code][3]string{
		reason.MismatchLayer:       {Denied, "denied ", `failures="1" errors="0"`},
		reason.RegistryUnreachable: {Undecided, "failed ", `failures="0" errors="1"`},
		reason.UsageWrong:          {Undecided, "failed ", `failures="0" errors="1"`},
		reason.DenyFeedStale:       {Undecided, "failed ", `failures="0" errors="1"`},
		reason.InternalFault:       {Undecided, "failed ", `failures="0" errors="1"`},
	} {
		v := Failed("registry.example/a", &reason.Error{Code: code, What: "try"})
		if v.Result != want[0] || v.Exit != code.Class().Exit() || (v.Result == Denied) != (v.Exit == 1) {
			t.Errorf("%s: %s, exit %d", code, v.Result, v.Exit)
		}
		if got := Text(v); !strings.Contains(got, "\n"+want[1]) {
			t.Errorf("%s: no %q in\n%s", code, want[1], got)
		}
		if got := JUnit("", v); !strings.Contains(got, want[2]) {
			t.Errorf("%s: no %q in\n%s", code, want[2], got)
		}
	}
}

// TestMany: several verdicts are one object that agrees with the exit status.
func TestMany(t *testing.T) {
	raw, err := JSON(Verdict{Schema: Schema, Exit: 0}, Verdict{Schema: Schema, Exit: 1})
	if err != nil {
		t.Fatal(err)
	}
	var many struct {
		Schema   string
		Exit     int
		Verdicts []Verdict
	}
	if err := json.Unmarshal(raw, &many); err != nil || many.Schema != ManySchema || many.Exit != 1 || len(many.Verdicts) != 2 {
		t.Errorf("%v: %s", err, raw)
	}
	if raw, err := JSON(); err != nil || !strings.Contains(string(raw), `"verdicts": []`) || !strings.Contains(string(raw), `"exit": 5`) {
		t.Errorf("%v: %s", err, raw)
	}
	if got := Text(Verdict{Result: Allowed, Subject: Subject{Reference: "a"}}, Verdict{Result: Denied, Subject: Subject{Reference: "b"}}); !strings.HasPrefix(got, "allowed   a\n\ndenied    b\n\ndenied    internal  ") {
		t.Errorf("text %q", got)
	}
}

// TestPlain: nothing that a terminal acts on gets through. (N52)
func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b]0;x\x07": "?]0;x?", "a\nb": "a?b", "\u202eabc": "?abc", "\u200b": "?", "\u2028": "?", "\x9b31m": "?31m", "é 日本": "é 日本", "a\rb": "a?b", "\xff": "?", "a##[b]": "a# #[b]", "###vso[": "# # #vso[",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q shows as %q, want %q", in, got, want)
		}
	}
}
