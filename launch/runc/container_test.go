package runc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/program"
	"github.com/ztlaunch/ztlaunch/launch/runc/runctest"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// box is one container of a test.
type box struct {
	r      Runtime
	c      Container
	bundle *runctest.Bundle
	out    *os.File // what the task wrote
}

// newBox prepares a container whose task is the probe with args.
func newBox(t *testing.T, id string, args ...string) *box {
	t.Helper()
	path, pin := runctest.Need(t)
	if err := Adopt(); err != nil {
		t.Fatal(err)
	}
	r, err := Find("", pin, path)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{r: r, bundle: runctest.NewBundle(t, id, args...)}
	if b.out, err = os.Create(filepath.Join(b.bundle.Dir, "out")); err != nil {
		t.Fatal(err)
	}
	b.c = Container{ID: id, Bundle: b.bundle.Dir, State: filepath.Join(b.bundle.Dir, "state"), Streams: Streams{Stdout: b.out, Stderr: b.out}}
	t.Cleanup(func() {
		if err := r.Delete(context.Background(), b.c); err != nil {
			t.Error(err)
		}
		r.Close()
		b.out.Close()
	})
	return b
}

func (b *box) create(t *testing.T) Init {
	t.Helper()
	b.bundle.Write(t)
	i, err := b.r.Create(t.Context(), b.c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

func (b *box) start(t *testing.T, i Init) {
	t.Helper()
	if err := b.r.Start(t.Context(), b.c, i); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, i Init) Exit {
	t.Helper()
	e, err := i.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (b *box) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(b.out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func itoa(n int) string { return strconv.Itoa(n) }

func TestBuiltRuntime(t *testing.T) {
	path, pin := runctest.Need(t)
	r, err := Find("", pin, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := r.ask(t.Context(), "--version")
	if err != nil {
		t.Fatal(err)
	}
	name, version, ok := parseBanner(string(out))
	if !ok || name != "runc" || version != Version {
		t.Errorf("the built runtime says %q", out)
	}
	if err := Floor(name, version, Facts{Kernel: "6.18", Unified: true}); err != nil {
		t.Error(err)
	}
	out, err = r.ask(t.Context(), "features")
	if err == nil {
		err = ableTo(out)
	}
	if err != nil {
		t.Errorf("%v", err)
	}
}

func TestLife(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want Exit
	}{
		{"zero", []string{"exit", "0"}, Exit{}},
		{"seven", []string{"exit", "7"}, Exit{Code: 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, "zt-life-"+c.name, c.args...)
			i := b.create(t)
			if s, err := b.r.State(t.Context(), b.c); err != nil || s.Status != specs.StateCreated || s.Pid != i.PID {
				t.Errorf("created: %+v, %v", s, err)
			}
			if b.said(t) != "" {
				t.Error("the task spoke before it was started")
			}
			b.start(t, i)
			e := wait(t, i)
			if e.Code != c.want.Code || e.Signal != c.want.Signal {
				t.Errorf("%+v, want %+v", e, c.want)
			}
			if e.MaxRSS == 0 {
				t.Error("no usage")
			}
			if _, err := os.Stat(filepath.Join(b.c.State, b.c.ID, "exec.fifo")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the fifo is still there: %v", err)
			}
		})
	}
}

// From a kept seal, in a mount namespace of one thread: as a launch does it.
func TestLifeFromSeal(t *testing.T) {
	b := newBox(t, "zt-seal", "exit", "3")
	path, pin := runctest.Need(t)
	r, err := Find(runctest.Keep(t), pin, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Form() != program.Kept && os.Getenv("ZTLAUNCH_E2E") != "require" {
		t.Skipf("ZTLAUNCH_E2E: this host keeps a program as %s", r.Form())
	}
	if r.Form() != program.Kept {
		t.Fatalf("form %s", r.Form())
	}
	b.bundle.Write(t)
	type result struct {
		i   Init
		err error
	}
	done := make(chan result)
	var inside func()
	inside = func() {
		runtime.LockOSThread() // not unlocked: the thread ends with its namespace
		if unix.Gettid() == unix.Getpid() {
			// The main thread is what /proc/self shows to other tests: keep it occupied,
			// so that the next goroutine gets another.
			defer runtime.UnlockOSThread()
			go inside()
			<-t.Context().Done()
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			done <- result{err: err}
			return
		}
		root := b.bundle.Spec.Root.Path
		err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount(root, root, "", unix.MS_BIND, ""),
			os.WriteFile(filepath.Join(root, "seen"), nil, 0o644))
		if err != nil {
			done <- result{err: err}
			return
		}
		i, err := r.Create(context.Background(), b.c)
		done <- result{i, err}
		<-t.Context().Done()
	}
	go inside()
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	defer got.i.Close()
	exe, err := os.Readlink("/proc/" + itoa(got.i.PID) + "/exe")
	if err != nil || strings.Contains(exe, "memfd") {
		t.Errorf("init runs from %q, %v: not from the seal's overlay", exe, err)
	}
	if err := r.Start(t.Context(), b.c, got.i); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, got.i); e.Code != 3 {
		t.Errorf("%+v", e)
	}
}

func TestSignals(t *testing.T) {
	b := newBox(t, "zt-signal", "sleep")
	i := b.create(t)
	b.start(t, i)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := i.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait ended with %v", err)
	}
	if err := i.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	i2, err := Watch(i.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer i2.Close()
	e := wait(t, i2)
	if e.Signal != syscall.SIGKILL || e.Status() != 137 {
		t.Errorf("%+v", e)
	}
	if err := i.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal one that ended: %v", err)
	}
	if _, err := i.Wait(t.Context()); err == nil {
		t.Error("waited twice for one process")
	}
}

func TestStreams(t *testing.T) {
	b := newBox(t, "zt-streams", "cat")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b.c.Stdin = r
	i := b.create(t)
	r.Close()
	b.start(t, i)
	if _, err := io.WriteString(w, "through the box"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if e := wait(t, i); e.Code != 0 {
		t.Errorf("%+v", e)
	}
	if b.said(t) != "through the box" {
		t.Errorf("%q", b.said(t))
	}
}

// Only the three streams, and what Extra names, are open in the box: not the
// log, the keeper's line or anything of this process.
func TestDescriptors(t *testing.T) {
	b := newBox(t, "zt-fds", "fds")
	life, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer life.Close()
	b.c.Life = other
	i := b.create(t)
	other.Close()
	// The runtime has ended, so the line is closed although init lives.
	ended := make(chan error, 1)
	go func() {
		_, err := life.Read(make([]byte, 1))
		ended <- err
	}()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the line reads %v", err)
	}
	b.start(t, i)
	if e := wait(t, i); e.Code != 0 {
		t.Errorf("%+v", e)
	}
	for line := range strings.Lines(b.said(t)) {
		if n, _, _ := strings.Cut(line, " "); n != "0" && n != "1" && n != "2" {
			t.Errorf("open in the box: %s", line)
		}
	}
	if strings.Count(b.said(t), "\n") != 3 {
		t.Errorf("%q", b.said(t))
	}
}

func TestExtraDescriptor(t *testing.T) {
	b := newBox(t, "zt-extra", "fds")
	f, err := os.Create(filepath.Join(b.bundle.Dir, "extra"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b.c.Extra = []*os.File{f}
	i := b.create(t)
	b.start(t, i)
	wait(t, i)
	if !strings.Contains(b.said(t), "3 ") || strings.Count(b.said(t), "\n") != 4 {
		t.Errorf("%q", b.said(t))
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", itoa(os.Getpid()))
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	t.Setenv("LD_PRELOAD", "/nowhere.so")
	t.Setenv("_LIBCONTAINER_LOGLEVEL", "0")
	b := newBox(t, "zt-env", "env")
	i := b.create(t)
	env, err := os.ReadFile("/proc/" + itoa(i.PID) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(env, []byte("LD_PRELOAD")) || bytes.Contains(env, []byte("NOTIFY_SOCKET")) || bytes.Contains(env, []byte("LISTEN_")) {
		t.Errorf("init's environment: %q", env)
	}
	b.start(t, i)
	wait(t, i)
	if got := b.said(t); got != "A=b\nHOME=/\n" && got != "A=b\n" {
		t.Errorf("%q", got)
	}
}

func TestCreateFails(t *testing.T) {
	b := newBox(t, "zt-fails", "exit", "0")
	b.bundle.Spec.Process.Args = []string{"/nothing-here"}
	b.bundle.Write(t)
	_, err := b.r.Create(t.Context(), b.c)
	e, ok := reason.Of(err)
	if !ok || e.Code != reason.RuntimeCreate || !strings.Contains(e.Found, "nothing-here") {
		t.Errorf("%v", err)
	}
}

func TestCreateInterrupted(t *testing.T) {
	b := newBox(t, "zt-interrupted", "exit", "0")
	b.bundle.Write(t)
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := b.r.Create(ctx, b.c); !errors.Is(err, stop) || code(err) != reason.RuntimeCreate {
		t.Errorf("%v", err)
	}
}

func TestStartAfterDeath(t *testing.T) {
	b := newBox(t, "zt-dead", "exit", "0")
	i := b.create(t)
	if err := i.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := b.r.Start(t.Context(), b.c, i)
	if code(err) != reason.RuntimeStart {
		t.Errorf("%v", err)
	}
	if e := wait(t, i); e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
	if err := b.r.Start(t.Context(), Container{ID: "none", State: b.c.State}, i); code(err) != reason.RuntimeStart {
		t.Errorf("%v", err)
	}
}

func TestVerbs(t *testing.T) {
	t.Run("no-such-container", func(t *testing.T) {
		b := newBox(t, "zt-none")
		if _, err := b.r.State(t.Context(), b.c); code(err) != reason.RuntimeState {
			t.Errorf("state: %v", err)
		}
		if err := b.r.Kill(t.Context(), b.c, 9); code(err) != reason.RuntimeKill {
			t.Errorf("kill: %v", err)
		}
		p := *b.bundle.Spec.Process
		if _, err := b.r.Exec(t.Context(), b.c, filepath.Join(b.bundle.Dir, "p.json"), p, Streams{}); code(err) != reason.RuntimeExec {
			t.Errorf("exec: %v", err)
		}
	})
	t.Run("exec", func(t *testing.T) {
		b := newBox(t, "zt-exec", "sleep")
		i := b.create(t)
		b.start(t, i)
		p := *b.bundle.Spec.Process
		p.Args = []string{"/probe", "exit", "42"}
		x, err := b.r.Exec(t.Context(), b.c, filepath.Join(b.bundle.Dir, "p.json"), p, Streams{})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		if e := wait(t, x); e.Code != 42 {
			t.Errorf("%+v", e)
		}
		if err := b.r.Kill(t.Context(), b.c, syscall.SIGTERM); err != nil {
			t.Errorf("kill: %v", err)
		}
		if e := wait(t, i); e.Code != 2 { // what a Go program makes of it
			t.Errorf("%+v", e)
		}
	})
}

func TestDelete(t *testing.T) {
	b := newBox(t, "zt-delete", "sleep")
	i := b.create(t)
	b.start(t, i)
	go func() { _, _ = i.Wait(context.Background()) }() // delete waits until it is reaped
	if err := b.r.Delete(t.Context(), b.c); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.c.State, b.c.ID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state is still there: %v", err)
	}
	bad := b.c
	bad.ID = "../x"
	if err := b.r.Delete(t.Context(), bad); code(err) != reason.RuntimeDelete {
		t.Errorf("%v", err)
	}
}
