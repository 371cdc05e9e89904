package admit

import (
	"encoding/json"
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

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func sum(s string) digest.Digest { return digest.FromString(s) }

// stage is a signed artifact and the policy that admits it.
type stage struct {
	key  verifytest.Key
	root trust.Root
	in   policy.Input
	text string
}

// build sets the stage: an image or a server, resolved through an index unless
// index is empty.
func build(t *testing.T, name string, kind artifact.Kind, index string) stage {
	t.Helper()
	ref, err := artifact.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	pinned := artifact.Pinned{Ref: ref.As(kind), Manifest: sum("manifest"), ConfigDigest: sum("config"),
		Platform: artifact.Platform{OS: "linux", Architecture: "amd64"},
		Layers:   []artifact.Layer{{Digest: sum("layer"), DiffID: sum("diff"), MediaType: ocispec.MediaTypeImageLayer, Size: 1}}}
	if index != "" {
		pinned.Index = sum(index)
	}
	pinned.Config.OS, pinned.Config.Architecture = "linux", "amd64"
	pinned.Config.RootFS.DiffIDs = []digest.Digest{sum("diff")}
	s := stage{key: verifytest.NewKey(t), in: policy.Input{Now: now, Purpose: policy.Run}}
	if s.in.Artifact, err = artifact.Pin(pinned); err != nil {
		t.Fatal(err)
	}
	s.in.Tree = files(t, "program")
	k, err := trust.ParseKey(s.key.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	s.root = trust.Root{}.With(k)
	s.in.Root = s.root.Digest()
	s.claim(t, evidence.PredicateCosignSign, map[string]any{})
	demands := "{signature: {by: [release]}}"
	if kind == artifact.MCP {
		s.claim(t, policy.PredicatePin, map[string]any{"tools": []string{"read"}})
		demands += ", {pin: {by: [release]}}"
	}
	section := map[artifact.Kind]string{artifact.Image: "images", artifact.MCP: "servers"}[kind]
	quoted, _ := json.Marshal(string(s.key.Public(t)))
	s.text = "identities: {release: {key: " + string(quoted) + "}}\n" + section + ": [{match: \"" + ref.Name() + "\", require: [" + demands + "]}]\n" +
		"box: {egress: [\"api.example.com:443\"], exec: {mounts: [work]}, devices: [/dev/kvm], caps: [CHOWN], privateAddresses: [10.0.0.7], limits: {pids: 9}}\n"
	return s
}

func files(t *testing.T, content string) tree.Tree {
	t.Helper()
	out, err := tree.FromFiles([]tree.Entry{{Path: "agent", Type: tree.File, Mode: 0o755, Size: int64(len(content)), Digest: sum(content)}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *stage) claim(t *testing.T, predicateType string, predicate any) {
	t.Helper()
	subject := s.in.Artifact.Digest()
	e, err := evidence.Parse(s.key.Attest(t, verifytest.Statement(t, predicateType, predicate, subject.Encoded())))
	if err != nil {
		t.Fatal(err)
	}
	c, err := evidence.Check(e, s.root, []digest.Digest{subject}, now)
	if err != nil {
		t.Fatal(err)
	}
	s.in.Claims = append(s.in.Claims, c)
}

func (s stage) decide(t *testing.T) policy.Decision {
	t.Helper()
	p, err := policy.Parse([]byte(s.text), "policy.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Evaluate(p, s.in)
}

func (s stage) admit(t *testing.T) Admission {
	t.Helper()
	a, err := Admit(s.decide(t), s.in.Artifact, s.in.Tree, s.in.Purpose, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const coder = "registry.example/agents/coder:1.4"

func TestAdmit(t *testing.T) {
	s := build(t, coder, artifact.Image, "index")
	d := s.decide(t)
	good, err := Admit(d, s.in.Artifact, s.in.Tree, policy.Run, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if good.Zero() || good.Tree() != s.in.Tree.Digest() || good.Artifact().Digest() != sum("manifest") || !good.Until().Equal(now.Add(time.Hour)) ||
		len(good.Signers()) != 1 || good.PolicyDigest() == "" || good.RootDigest() != s.root.Digest() || len(good.Describe()) != 2 {
		t.Errorf("admission %v %v %v", good.Describe(), good.Until(), good.Signers())
	}
	unsigned := s
	unsigned.in.Claims = nil
	denied := unsigned.decide(t)
	other := build(t, coder, artifact.Image, "other index")
	renamed := build(t, "registry.example/agents/coder:1.5", artifact.Image, "index")
	for name, c := range map[string]struct {
		d    policy.Decision
		a    artifact.Artifact
		t    tree.Tree
		p    policy.Purpose
		now  time.Time
		age  time.Duration
		want reason.Code
	}{
		"denied":         {denied, s.in.Artifact, s.in.Tree, policy.Run, now, time.Hour, reason.AdmissionDenied},
		"zero-decision":  {policy.Decision{}, s.in.Artifact, s.in.Tree, policy.Run, now, time.Hour, reason.AdmissionMismatch},
		"zero-artifact":  {d, artifact.Artifact{}, s.in.Tree, policy.Run, now, time.Hour, reason.AdmissionMismatch},
		"zero-tree":      {d, s.in.Artifact, tree.Tree{}, policy.Run, now, time.Hour, reason.AdmissionMismatch},
		"other-tree":     {d, s.in.Artifact, files(t, "backdoor"), policy.Run, now, time.Hour, reason.AdmissionMismatch},
		"other-artifact": {d, other.in.Artifact, s.in.Tree, policy.Run, now, time.Hour, reason.AdmissionMismatch},
		"other-name":     {d, renamed.in.Artifact, s.in.Tree, policy.Run, now, time.Hour, reason.AdmissionMismatch},
		"other-purpose":  {d, s.in.Artifact, s.in.Tree, policy.Pin, now, time.Hour, reason.AdmissionMismatch},
		"no-age":         {d, s.in.Artifact, s.in.Tree, policy.Run, now, 0, reason.AdmissionMismatch},
		"expired":        {d, s.in.Artifact, s.in.Tree, policy.Run, now.Add(time.Hour + time.Second), time.Hour, reason.AdmissionExpired},
		"clock-back":     {d, s.in.Artifact, s.in.Tree, policy.Run, now.Add(-time.Hour), time.Hour, reason.AdmissionExpired},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Admit(c.d, c.a, c.t, c.p, c.now, c.age)
			if e, ok := reason.Of(err); !ok || e.Code != c.want {
				t.Errorf("error = %v, want %s", err, c.want)
			}
		})
	}
	if err := good.Holds(now.Add(time.Hour)); err != nil {
		t.Errorf("at its end: %v", err)
	}
	if good.Holds(now.Add(time.Hour+time.Second)) == nil || (Admission{}).Holds(now) == nil {
		t.Error("an admission past its end, or none, holds")
	}
}

// TestUntil: an admission ends no later than what it rests on.
func TestUntil(t *testing.T) {
	s := build(t, coder, artifact.Image, "")
	s.in.Feed = policy.Feed{Serial: 7, Until: now.Add(time.Minute), Denied: map[digest.Digest]string{sum("x"): "bad"}}
	if a := s.admit(t); !a.Until().Equal(now.Add(time.Minute)) {
		t.Errorf("until %v", a.Until())
	}
}

// TestBoxOfPurpose: recording a server's surface gets none of what the policy
// would grant a run.
func TestBoxOfPurpose(t *testing.T) {
	s := build(t, "registry.example/mcp/files:1", artifact.MCP, "")
	run := s.admit(t)
	if b := run.Box(); len(b.Egress) != 1 || len(b.Exec.Mounts) != 1 || len(b.Devices) != 1 || len(b.Caps) != 1 || len(b.PrivateAddresses) != 1 {
		t.Errorf("run: %+v", b)
	}
	if string(run.Pin()) != `{"tools":["read"]}` {
		t.Errorf("pin %s", run.Pin())
	}
	s.in.Purpose = policy.Pin
	pin := s.admit(t)
	if b := pin.Box(); b.Egress == nil || len(b.Egress)+len(b.Exec.Mounts)+len(b.Devices)+len(b.Caps)+len(b.PrivateAddresses) != 0 || b.Limits.Pids != 9 {
		t.Errorf("pin: %+v", b)
	}
	if _, err := NewEntry(pin); err == nil {
		t.Error("an admission for pin was locked")
	}
	if _, err := NewEntry(Admission{}); err == nil {
		t.Error("nothing was locked")
	}
}

func TestRevoked(t *testing.T) {
	s := build(t, coder, artifact.Image, "index")
	s.in.Feed = policy.Feed{Serial: 7}
	a := s.admit(t)
	feed := func(serial uint64, denied ...string) policy.Feed {
		f := policy.Feed{Serial: serial, Until: now.Add(time.Hour), Denied: map[digest.Digest]string{}}
		for _, d := range denied {
			f.Denied[sum(d)] = "backdoor \x1b[31m"
		}
		return f
	}
	for name, c := range map[string]struct {
		feed policy.Feed
		now  time.Time
		want reason.Code
	}{
		"same":        {feed(7), now, ""},
		"newer":       {feed(8, "other"), now, ""},
		"manifest":    {feed(8, "manifest"), now, reason.DigestDenied},
		"index":       {feed(8, "index"), now, reason.DigestDenied},
		"config":      {feed(8, "config"), now, reason.DigestDenied},
		"layer":       {feed(8, "layer"), now, reason.DigestDenied},
		"diff":        {feed(8, "diff"), now, reason.DigestDenied},
		"rolled-back": {feed(6), now, reason.FeedRolledBack},
		"none-now":    {policy.Feed{}, now, reason.FeedRolledBack},
		"stale":       {feed(8), now.Add(2 * time.Hour), reason.DenyFeedStale},
	} {
		t.Run(name, func(t *testing.T) {
			err := Revoked(a, c.feed, c.now)
			e, _ := reason.Of(err)
			if c.want == "" && err != nil || c.want != "" && (e == nil || e.Code != c.want) {
				t.Errorf("error = %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%q carries an escape", err)
			}
		})
	}
	if Revoked(Admission{}, policy.Feed{}, now) == nil {
		t.Error("the zero admission is not revoked")
	}
}
