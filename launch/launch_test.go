package launch_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/host"
	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/program"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/launch/runc"
	"github.com/ztlaunch/ztlaunch/launch/runc/runctest"
	"github.com/ztlaunch/ztlaunch/profiles"
	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestMain is also the keeper of each launch: this same program.
func TestMain(m *testing.M) {
	if os.Args[0] == keeper.Name {
		os.Exit(keeper.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// stage is one launch, ready to go: a real admission of a root that holds the
// probe and one file of data, the real runtime, a keeper and a block of ids.
type stage struct {
	plan  plan.Plan
	parts launch.Parts
	out   *os.File // what the task writes
}

func newStage(t *testing.T, form rootfs.Form, task plan.Task, args ...string) stage {
	t.Helper()
	path, pin := runctest.Need(t)
	dir := t.TempDir()
	root, spool := layer(t, dir)
	sealed, err := rootfs.Seal(t.Context(), form, root, root.Digest(), spool, rootfs.Limits{})
	check(t, err)
	t.Cleanup(func() { check(t, sealed.Close()) })
	runtime, err := runc.Find(filepath.Join(dir, "runtime"), pin, path)
	check(t, err)
	t.Cleanup(func() {
		runtime.Close()
		check(t, program.Drop(filepath.Join(dir, "runtime")))
	})
	task.ID, task.Command = digest.FromString(t.Name()+dir).Encoded(), append([]string{"/probe"}, args...)
	p, err := plan.Build(admission(t, root), root, task, plan.Accounts{}, profiles.Default().Spec(),
		plan.Host{PidsController: host.Quick().Controller("pids")})
	check(t, err)
	ids, err := rootfs.TakeIDs(filepath.Join(dir, "ids"), rootfs.DefaultIDs(), nil)
	check(t, err)
	self, err := program.Open("/proc/self/exe")
	check(t, err)
	t.Cleanup(self.Close)
	k, err := keeper.Start(filepath.Join(dir, "run"), self)
	check(t, err)
	ground, err := launch.Lay(ids, k)
	check(t, err)
	t.Cleanup(ground.Close)
	t.Cleanup(func() {
		_ = k.Close() // a test may have killed it
		if left, err := os.ReadDir(filepath.Join(dir, "run", "tasks")); err != nil || len(left) != 0 {
			t.Errorf("left in the run folder: %v, %v", left, err)
		}
	})
	out, theirs, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { out.Close(); theirs.Close() })
	return stage{p, launch.Parts{Root: sealed, Tree: root, Runtime: runtime, Keeper: k, Ground: ground,
		Stdio: launch.Stdio{Out: theirs, Err: os.Stderr}, Watch: launch.Watch{Interval: 10 * time.Millisecond}}, out}
}

// codeOf is the code of why a task was ended, "" if it was not.
func codeOf(e *reason.Error) reason.Code {
	if e == nil {
		return ""
	}
	return e.Code
}

// started runs the stage's task, calls then once the task says ready, and gives
// how it ended. When then fails the task is told to end.
func (s stage) started(t *testing.T, then func(cancel context.CancelFunc) error) launch.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	told := make(chan struct{})
	go func() {
		defer close(told)
		ready := make([]byte, len("ready\n"))
		_, err := io.ReadFull(s.out, ready)
		if err == nil {
			err = then(cancel)
		}
		if err != nil {
			t.Errorf("after %q: %v", ready, err)
			cancel()
		}
	}()
	result, err := launch.Run(ctx, s.plan, s.parts)
	check(t, errors.Join(err, s.out.SetReadDeadline(time.Now()))) // a task that said nothing says nothing more
	<-told
	return result
}

// layer is a root with the probe, the mount points and one file of data.
func layer(t *testing.T, dir string) (tree.Tree, *rootfs.Spool) {
	t.Helper()
	probe, err := os.ReadFile(runctest.Probe(t, dir))
	check(t, err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range map[string]string{"probe": string(probe), "data": "as it was admitted", "more": ""} {
		check(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatPAX}))
		_, err := w.Write([]byte(content))
		check(t, err)
	}
	check(t, w.Close())
	spool, err := rootfs.NewSpool(filepath.Join(dir, "spool"))
	check(t, err)
	t.Cleanup(func() { check(t, spool.Close()) })
	l, err := spool.Scan(bytes.NewReader(b.Bytes()), digest.FromBytes(b.Bytes()), tree.Limits{})
	check(t, err)
	merged, err := tree.Merge([]tree.Layer{l})
	check(t, err)
	whole, err := merged.Skeleton()
	check(t, err)
	return whole, spool
}

// admission is a real one: signed, proved, decided and admitted.
func admission(t *testing.T, root tree.Tree) admit.Admission {
	t.Helper()
	now := verifytest.Epoch()
	sum := digest.FromString("manifest")
	ref, err := artifact.Parse("registry.example/agents/probe:1")
	check(t, err)
	a, err := artifact.Pin(artifact.Pinned{Ref: ref, Manifest: sum, ConfigDigest: digest.FromString("config"), Size: 1,
		Platform: artifact.Platform{OS: "linux", Architecture: "amd64"},
		Config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
			RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("diff")}}},
		Layers: []artifact.Layer{{Digest: digest.FromString("layer"), DiffID: digest.FromString("diff"), MediaType: ocispec.MediaTypeImageLayer, Size: 1}}})
	check(t, err)
	signer := verifytest.NewKey(t)
	key, err := trust.ParseKey(signer.Public(t))
	check(t, err)
	envelope, err := evidence.Parse(signer.Attest(t, verifytest.Statement(t, evidence.PredicateCosignSign, struct{}{}, sum.Encoded())))
	check(t, err)
	trusted := trust.Root{}.With(key)
	claim, err := evidence.Check(envelope, trusted, a.Subjects(), now)
	check(t, err)
	p, err := policy.OneRun(policy.Signer{Key: key}, ref)
	check(t, err)
	d := policy.Evaluate(p, policy.Input{Artifact: a, Tree: root, Claims: []evidence.Claim{claim}, Now: now, Purpose: policy.Run, Root: trusted.Digest()})
	admitted, err := admit.Admit(d, a, root, policy.Run, now, time.Hour)
	check(t, err)
	return admitted
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRun carries a task out, and refuses what cannot be.
func TestRun(t *testing.T) {
	s := newStage(t, rootfs.InRAMFS, plan.Task{}, "exit", "7")
	if result, err := launch.Run(t.Context(), s.plan, s.parts); err != nil || result.Status != 7 || result.Cause != nil {
		t.Errorf("%+v, %v", result, err)
	}
	t.Run("no plan", func(t *testing.T) {
		if _, err := launch.Run(t.Context(), plan.Plan{}, s.parts); code(err) != reason.InternalFault {
			t.Errorf("%v", err)
		}
	})
	// The task says ready on its standard output as soon as it runs.
	t.Run("not recorded", func(t *testing.T) {
		s := newStage(t, rootfs.InRAMFS, plan.Task{}, "fork", "1")
		lost := &reason.Error{Code: reason.AuditUnwritable, What: "append"}
		recorded := make(chan error, 1)
		recorded <- lost
		s.parts.Recorded = recorded
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := launch.Run(ctx, s.plan, s.parts); !errors.Is(err, lost) {
			t.Errorf("%v", err)
		}
		if err := s.parts.Stdio.Out.Close(); err != nil {
			t.Fatal(err)
		}
		if said, err := io.ReadAll(s.out); err != nil || len(said) > 0 {
			t.Errorf("the task ran: %q, %v", said, err)
		}
	})
	// The host takes the folder of a mount away between plan and launch.
	t.Run("host refuses", func(t *testing.T) {
		s := newStage(t, rootfs.InRAMFS, plan.Task{Mounts: []plan.Mount{{Class: plan.Work, Target: "/work",
			Source: plan.Source{Asked: "./repo", Real: "/srv/repo", Handle: -1, Dir: true}}}}, "exit", "0")
		_, err := launch.Run(t.Context(), s.plan, s.parts)
		if e, ok := reason.Of(err); !ok || e.Code != reason.LaunchFailed || !strings.Contains(e.What, "./repo") || e.Expected == "" || e.Next == "" {
			t.Errorf("%v, want %s", err, reason.LaunchFailed)
		}
	})
}

// TestStopped ends a task from the launcher's side.
func TestStopped(t *testing.T) {
	s := newStage(t, rootfs.InRAMFS, plan.Task{}, "fork", "3")
	result := s.started(t, func(cancel context.CancelFunc) error { cancel(); return nil })
	if result.Status != 137 || codeOf(result.Cause) != reason.TaskStopped {
		t.Errorf("%+v", result)
	}
}

// TestKeeperLost kills the keeper of a running task.
func TestKeeperLost(t *testing.T) {
	s := newStage(t, rootfs.InRAMFS, plan.Task{}, "fork", "3")
	result := s.started(t, func(context.CancelFunc) error {
		processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range processes {
			line, _ := os.ReadFile(file)
			if strings.HasPrefix(string(line), keeper.Name+"\x00"+s.parts.Keeper.Dir()+"\x00") {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
				return errors.Join(err, unix.Kill(pid, unix.SIGKILL))
			}
		}
		return errors.New("there is no keeper")
	})
	if result.Status != 137 || codeOf(result.Cause) != reason.KeeperLost {
		t.Errorf("%+v", result)
	}
}

func code(err error) reason.Code {
	var e *reason.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
