package keeper

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/program"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// The test program is also the keeper, as ztlaunch is, and the launcher of the
// crash tests.
func TestMain(m *testing.M) {
	switch os.Args[0] {
	case Name:
		os.Exit(Main(os.Args[1:]))
	case launcherName:
		os.Exit(launcher(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func code(err error) reason.Code {
	if e, ok := reason.Of(err); ok {
		return e.Code
	}
	return ""
}

func tasks(t *testing.T, run string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(run, "tasks", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// until waits for something that will happen unless there is a fault.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not: ", what)
		}
	}
}

func begin(t *testing.T, run string, held ...*os.File) *Keeper {
	t.Helper()
	k, err := Start(run, self(t), held...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func TestGoodPath(t *testing.T) {
	run := t.TempDir()
	k := begin(t, run)
	if filepath.Dir(k.Dir()) != filepath.Join(run, "tasks") {
		t.Errorf("the folder is %s", k.Dir())
	}
	st, err := os.Stat(k.Dir())
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := k.Will(Folder(other), Cgroup("/ztlaunch/never-made"), Mount(filepath.Join(run, "tasks", "never"))); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(other, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.Dir(), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(run); err != nil {
		t.Fatal(err)
	}
	if len(tasks(t, run)) != 1 {
		t.Fatal("a sweep took a live task's folder")
	}
	if err := k.Clean(); err != nil {
		t.Fatal(err)
	}
	if err := k.Clean(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if err := k.Will(Folder(other)); code(err) != reason.KeeperFailed {
		t.Errorf("recorded with nobody to clean it up: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	<-k.Lost()
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the recorded folder: %v", err)
	}
	if len(tasks(t, run)) != 0 {
		t.Error("the task's folder stayed")
	}
}

// The launcher's end is closed without a word.
func die(k *Keeper) {
	_ = unix.Shutdown(int(k.line.Fd()), unix.SHUT_WR)
	k.lock.Close()
}

func TestDeath(t *testing.T) {
	run := t.TempDir()
	k := begin(t, run)
	other := filepath.Join(t.TempDir(), "other")
	if err := k.Will(Folder(other)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(other, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	die(k)
	<-k.Lost()
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the recorded folder: %v", err)
	}
	if len(tasks(t, run)) != 0 {
		t.Error("the task's folder stayed")
	}
}

// Whoever else has the launcher's end, as the runtime does, keeps the keeper
// waiting.
func TestLineIsShared(t *testing.T) {
	run := t.TempDir()
	k := begin(t, run)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("cat")
	child.Stdin, child.ExtraFiles = r, []*os.File{k.Line()}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	k.line.Close() // and with it the way to tell "done"
	if len(tasks(t, run)) != 1 {
		t.Error("cleaned while a child has the line")
	}
	w.Close()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	until(t, "cleaned", func() bool { return len(tasks(t, run)) == 0 })
}

func TestHold(t *testing.T) {
	locked := func(t *testing.T, path string) bool {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
	}
	take := func(t *testing.T) *os.File {
		f, err := os.Create(filepath.Join(t.TempDir(), "lock"))
		if err == nil {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	early, late := take(t), take(t)
	k := begin(t, t.TempDir(), early)
	if err := k.Hold(late); err != nil {
		t.Fatal(err)
	}
	early.Close()
	late.Close()
	for _, f := range []*os.File{early, late} {
		if !locked(t, f.Name()) {
			t.Error("the keeper does not hold the lock")
		}
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{early, late} {
		if locked(t, f.Name()) {
			t.Error("the lock outlives the keeper")
		}
	}
}

func TestKeeperKilled(t *testing.T) {
	run := t.TempDir()
	k := begin(t, run)
	if err := k.process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-k.Lost()
	if err := k.Hold(k.record); code(err) != reason.KeeperFailed {
		t.Errorf("held by nobody: %v", err)
	}
	if err := Sweep(run); err != nil || len(tasks(t, run)) != 1 {
		t.Errorf("a sweep takes a task whose launcher lives: %v", err)
	}
	// Then the launcher dies too.
	if err := k.Will(Folder(filepath.Join(run, "tasks", "x", "y"))); err != nil {
		t.Fatal(err)
	}
	k.lock.Close()
	if err := Sweep(run); err != nil {
		t.Fatal(err)
	}
	if len(tasks(t, run)) != 0 {
		t.Error("the sweep left the folder")
	}
}

func TestKeeperIgnoresSignals(t *testing.T) {
	k := begin(t, t.TempDir())
	status := "/proc/" + strconv.Itoa(k.process.Pid) + "/status"
	until(t, "SIGTERM ignored", func() bool {
		b, err := os.ReadFile(status)
		_, rest, _ := strings.Cut(string(b), "SigIgn:\t")
		return err == nil && len(rest) > 16 && strings.Contains("4567cdef", rest[12:13]) // bit 14
	})
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := k.process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(file, self(t)); code(err) != reason.KeeperFailed {
		t.Errorf("%v", err)
	}
}

// self is this test program, which TestMain makes the keeper where it has that
// name.
func self(t testing.TB) program.Program {
	t.Helper()
	p, err := program.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestMainRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {"/x"}, {"/x", "y"}} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = append([]string{Name}, args...)
		var e *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &e) || e.ExitCode() != 2 {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestWillRefuses(t *testing.T) {
	k := begin(t, t.TempDir())
	for _, e := range []Entry{
		{}, {Folder: "/a/b/c", Mount: "/a/b/c"}, {Init: 1}, {Init: -5},
		Folder("/"), Folder("/etc"), Folder("/var/lib"), Folder("/a/b/../c"), Folder("a/b/c/d"), Folder("/a/b/c/"),
		Mount("/proc"), Cgroup("/"), Cgroup("/ztlaunch"), Cgroup("/ztlaunch/"), Cgroup("/ztlaunch/.."), Cgroup("/ztlaunch/a/b"),
		Cgroup("/ztlaunch/a/../../b"), Cgroup("/system.slice/x"), Cgroup("ztlaunch/x"), Cgroup("/ztlaunch/a\nb"),
	} {
		if err := k.Will(e); code(err) != reason.KeeperFailed {
			t.Errorf("%+v is recorded: %v", e, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(k.Dir(), recordName)); err != nil || len(b) != 0 {
		t.Errorf("the record holds %q, %v", b, err)
	}
}

func TestUnclean(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ZTLAUNCH_E2E: not root")
	}
	run := t.TempDir()
	theirs := t.TempDir()
	if err := os.WriteFile(filepath.Join(theirs, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k := begin(t, run)
	at := filepath.Join(k.Dir(), "bind")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(theirs, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	if err := k.Clean(); code(err) != reason.KeeperUnclean {
		t.Errorf("%v", err)
	}
	die(k)
	<-k.Lost()
	if _, err := os.Stat(filepath.Join(theirs, "precious")); err != nil {
		t.Fatalf("the folder's owner lost a file: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(k.Dir(), "failed")); err != nil || !strings.Contains(string(b), "mounted there") {
		t.Errorf("the keeper said %q, %v", b, err)
	}
	if err := Sweep(run); code(err) != reason.KeeperUnclean {
		t.Errorf("%v", err)
	}
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(run); err != nil || len(tasks(t, run)) != 0 {
		t.Errorf("the next sweep: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	run := t.TempDir()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 3 {
				k, err := Start(run, self(t))
				if err != nil {
					t.Error(err)
					return
				}
				if err := Sweep(run); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(k.Dir()); err != nil {
					t.Errorf("swept while it lives: %v", err)
				}
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(tasks(t, run)) != 0 {
		t.Error("folders stayed")
	}
}

func TestSweepNothing(t *testing.T) {
	if err := Sweep(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Error(err)
	}
}

func TestParseRecord(t *testing.T) {
	got, err := parseRecord(strings.NewReader(`{"cgroup":"/ztlaunch/a"}` + "\n" + `{"folder":"/"}` + "\n" + `{"x":1}` + "\n" +
		`{"init":5,"start":7}` + "\n" + `{"mount":"/a/b/c"}{}` + "\n" + `{"folder":"/never/fini`))
	if err == nil || len(got) != 2 || got[0].Cgroup != "/ztlaunch/a" || got[1].Init != 5 || got[1].Start != 7 {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(`{"cgroup":"/ztlaunch/a"}` + "\n")
	f.Fuzz(func(t *testing.T, s string) {
		entries, _ := parseRecord(strings.NewReader(s))
		for _, e := range entries {
			if err := e.check(); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
		}
	})
}

func BenchmarkSweep(b *testing.B) {
	run := b.TempDir()
	for range 20 {
		k, err := Start(run, self(b))
		if err != nil {
			b.Fatal(err)
		}
		defer k.Close()
	}
	b.ResetTimer()
	for range b.N {
		if err := Sweep(run); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStartClose(b *testing.B) {
	run := b.TempDir()
	for range b.N {
		k, err := Start(run, self(b))
		if err != nil {
			b.Fatal(err)
		}
		if err := k.Will(Cgroup("/ztlaunch/bench")); err != nil {
			b.Fatal(err)
		}
		if err := k.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
