package plan

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

var update = flag.Bool("update", false, "write the golden files")

// admission is a real one: signed, proved, decided and admitted.
func admission(t *testing.T, root tree.Tree, config ocispec.ImageConfig, box string) admit.Admission {
	t.Helper()
	now := verifytest.Epoch()
	sum := digest.FromString("manifest")
	ref, err := artifact.Parse("registry.example/agents/coder:1")
	if err != nil {
		t.Fatal(err)
	}
	a, err := artifact.Pin(artifact.Pinned{Ref: ref, Manifest: sum, ConfigDigest: digest.FromString("config"), Size: 1,
		Platform: artifact.Platform{OS: "linux", Architecture: "amd64"},
		Config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, Config: config,
			RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("diff")}}},
		Layers: []artifact.Layer{{Digest: digest.FromString("layer"), DiffID: digest.FromString("diff"), MediaType: ocispec.MediaTypeImageLayer, Size: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	signer := verifytest.NewKey(t)
	key, err := trust.ParseKey(signer.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := evidence.Parse(signer.Attest(t, verifytest.Statement(t, evidence.PredicateCosignSign, struct{}{}, sum.Encoded())))
	if err != nil {
		t.Fatal(err)
	}
	trusted := trust.Root{}.With(key)
	claim, err := evidence.Check(envelope, trusted, a.Subjects(), now)
	if err != nil {
		t.Fatal(err)
	}
	text := "identities: {k: {key: k.pub}}\nimages: [{match: registry.example/**, require: [{signature: {by: [k]}}]}]\n" + box
	p, err := policy.Parse([]byte(text), "policy.yaml", func(string) ([]byte, error) { return signer.Public(t), nil })
	if err != nil {
		t.Fatal(err)
	}
	d := policy.Evaluate(p, policy.Input{Artifact: a, Tree: root, Claims: []evidence.Claim{claim}, Now: now, Purpose: policy.Run, Root: trusted.Digest()})
	admitted, err := admit.Admit(d, a, root, policy.Run, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return admitted
}

// world is a small root with what plans look at.
func world(t *testing.T) tree.Tree {
	return files(t,
		tree.Entry{Path: "agent", Type: tree.File, Mode: 0o755},
		tree.Entry{Path: "etc/hosts", Type: tree.File, Mode: 0o644},
		tree.Entry{Path: "home/agent/tool", Type: tree.File, Mode: 0o755},
		tree.Entry{Path: "home/agent/notes.txt", Type: tree.File, Mode: 0o644},
		tree.Entry{Path: "tmp", Type: tree.Dir, Mode: 0o777},
		tree.Entry{Path: "var/run", Type: tree.Symlink, Link: "../run"},
		tree.Entry{Path: "data", Type: tree.File, Mode: 0o644},
	)
}

func filter() *specs.LinuxSeccomp { return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno} }

func id(c string) string { return strings.Repeat(c, 64) }

func source(at string) Source {
	return Source{Asked: at, Real: at, Handle: 3, Dir: true, UID: 1000, GID: 1000, Homes: []string{"/home/op"}}
}

// TestGolden holds whole boxes against files that a person has read.
func TestGolden(t *testing.T) {
	accounts := Accounts{Passwd: []byte("root:x:0:0::/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\n")}
	image := ocispec.ImageConfig{Entrypoint: []string{"/agent"}, Env: []string{"LANG=C"}, User: "agent", StopSignal: "SIGINT",
		Volumes: map[string]struct{}{"/var/cache": {}}}
	for name, c := range map[string]struct {
		task Task
		box  string
		host Host
	}{
		"plain":  {Task{ID: id("a")}, "", Host{PidsController: true}},
		"nopids": {Task{ID: id("b"), User: "0", Terminal: true, Console: Size{24, 80}}, "", Host{}},
		"full": {Task{ID: id("c"), Name: "t", Env: []string{"A=1"}, WorkDir: "/work/sub", Hostname: "box", Command: []string{"-v"},
			Limits: Limits{Memory: 1 << 30, CPUs: 1, Pids: 10}, Servers: []string{"notes", "files"},
			Models: []Model{{"main", "/models/main"}},
			Mounts: []Mount{{Class: Work, Source: source("/srv/repo"), Target: "/work", Exec: true},
				{Class: Input, Source: source("/srv/inbox"), Target: "/work/inbox"}, {Class: Scratch, Target: "/cache", Size: 1 << 20}}},
			"box: {exec: {mounts: [work]}, limits: {memory: 2GiB, time: 1h}}\n", Host{PidsController: true}},
	} {
		t.Run(name, func(t *testing.T) {
			root := world(t)
			p, err := Build(admission(t, root, image, c.box), root, c.task, accounts, filter(), c.host)
			if err != nil {
				t.Fatal(err)
			}
			at := Paths{Root: "/g/root", Back: "/g/back", Userns: "/proc/1/fd/9", Files: "/g/files"}
			for range p.Scratches() {
				at.Scratches = append(at.Scratches, "/g/scratch")
			}
			for range p.Binds() {
				at.Binds = append(at.Binds, "/g/bind")
			}
			for range p.Models() {
				at.Models = append(at.Models, "/g/model")
			}
			got, err := json.MarshalIndent(struct {
				Spec      *specs.Spec
				Missing   []Missing
				Scratches []ScratchMount
				Stop      string
				Hosts     string
			}{p.Spec(at), p.Missing(), p.Scratches(), p.StopSignal(), string(p.Hosts(map[string]string{"notes.mcp": "127.77.0.1"}))}, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(append(got, '\n'), want) {
				t.Errorf("%s differs; read the difference, then run with -update:\n%s", file, got)
			}
		})
	}
}

// TestBuildRefuses asks for what the box does not grant.
func TestBuildRefuses(t *testing.T) {
	root := world(t)
	big := files(t, tree.Entry{Path: "agent", Type: tree.File, Mode: 0o755}, tree.Entry{Path: "cache/blob", Type: tree.File, Mode: 0o644, Size: 17 << 20})
	work := func(target string) []Mount {
		return []Mount{{Class: Work, Source: source("/srv/repo"), Target: target}}
	}
	for name, c := range map[string]struct {
		task Task
		box  string
		root tree.Tree
		code reason.Code
	}{
		"exec":            {Task{Mounts: []Mount{{Class: Work, Source: source("/srv/x"), Target: "/work", Exec: true}}}, "", root, reason.ExecNotGranted},
		"memory":          {Task{Limits: Limits{Memory: 3 << 30}}, "box: {limits: {memory: 2GiB}}\n", root, reason.LimitExceeded},
		"cpus":            {Task{Limits: Limits{CPUs: 3}}, "box: {limits: {cpus: 2}}\n", root, reason.LimitExceeded},
		"pids":            {Task{Limits: Limits{Pids: 300}}, "box: {limits: {pids: 256}}\n", root, reason.LimitExceeded},
		"time":            {Task{Limits: Limits{Time: 2 * time.Hour}}, "box: {limits: {time: 1h}}\n", root, reason.LimitExceeded},
		"target a file":   {Task{Mounts: work("/data")}, "", root, reason.MountpointType},
		"target a link":   {Task{Mounts: work("/var/run")}, "", root, reason.MountpointType},
		"through a link":  {Task{Mounts: work("/var/run/x")}, "", root, reason.MountpointType},
		"through a file":  {Task{Mounts: work("/data/x")}, "", root, reason.MountpointType},
		"same target":     {Task{Mounts: append(work("/w"), work("/w")...)}, "", root, reason.MountTarget},
		"scratch too big": {Task{Mounts: []Mount{{Class: Scratch, Target: "/cache"}}}, "", big, reason.ScratchTooLarge},
		"cwd in proc":     {Task{WorkDir: "/proc/self/fd/8"}, "", root, reason.MountTarget},
		"cwd relative":    {Task{WorkDir: "x"}, "", root, reason.MountTarget},
		"cwd a file":      {Task{WorkDir: "/data"}, "", root, reason.MountpointType},
	} {
		t.Run(name, func(t *testing.T) {
			c.task.ID = id("d")
			_, err := Build(admission(t, c.root, ocispec.ImageConfig{Entrypoint: []string{"/agent"}}, c.box), c.root, c.task, Accounts{}, filter(), Host{})
			if codeOf(err) != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
	t.Run("another tree", func(t *testing.T) {
		if _, err := Build(admission(t, root, ocispec.ImageConfig{}, ""), big, Task{ID: id("e")}, Accounts{}, filter(), Host{}); codeOf(err) != reason.InternalFault {
			t.Errorf("a plan was made for a tree that was not admitted: %v", err)
		}
	})
	t.Run("zero", func(t *testing.T) {
		if _, err := Build(admit.Admission{}, root, Task{ID: id("f")}, Accounts{}, filter(), Host{}); codeOf(err) != reason.InternalFault {
			t.Errorf("a plan was made without an admission: %v", err)
		}
		if !(Plan{}).Zero() {
			t.Error("the zero plan is taken for a plan")
		}
	})
}
