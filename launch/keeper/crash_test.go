package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/program"
	"github.com/ztlaunch/ztlaunch/launch/runc"
	"github.com/ztlaunch/ztlaunch/launch/runc/runctest"
)

const launcherName = "ztlaunch-test-launcher"

// launcher launches one container as ztlaunch does, from a thread with a mount
// namespace of its own, and cleans up. args: RUN ID BUNDLE RUNTIME PIN.
func launcher(args []string) int {
	if err := launch(args[0], args[1], args[2], args[3], args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "launcher:", err)
		return 1
	}
	return 0
}

func launch(run, id, bundle, path, pin string) error {
	self, err := program.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	k, err := Start(run, self)
	if err != nil {
		return err
	}
	rt, err := runc.Find(filepath.Join(run, "runtime"), pin, path)
	if err != nil {
		return errors.Join(err, k.Close())
	}
	cgroup := Cgroup("/ztlaunch/" + id)
	if err := errors.Join(k.Will(cgroup), runc.Adopt()); err != nil {
		return err
	}
	c := runc.Container{ID: id, Bundle: bundle, State: filepath.Join(k.Dir(), "state"), Life: k.Line()}
	c.PidFile = filepath.Join(k.Dir(), "pid")
	type created struct {
		init runc.Init
		err  error
	}
	made := make(chan created)
	go func() {
		runtime.LockOSThread() // for good: the namespace goes with the thread
		at := filepath.Join(k.Dir(), "root")
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			os.Mkdir(at, 0o700), unix.Mount(filepath.Join(bundle, "root"), at, "", unix.MS_BIND, ""))
		if err != nil {
			made <- created{err: err}
			return
		}
		i, err := rt.Create(context.Background(), c)
		made <- created{i, err}
		<-make(chan struct{})
	}()
	m := <-made
	if m.err == nil {
		m.err = rt.Start(context.Background(), c, m.init)
	}
	if m.err == nil {
		_, m.err = m.init.Wait(context.Background())
	}
	return errors.Join(m.err, k.Close())
}

// crash is the ground of a crash test.
type crash struct {
	run    string
	bundle *runctest.Bundle
	args   []string
}

func newCrash(t *testing.T, id string, task ...string) crash {
	t.Helper()
	path, pin := runctest.Need(t)
	id += "-" + strconv.Itoa(os.Getpid()) // another run of these tests may be under way
	run := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(run, 0o711); err != nil {
		t.Fatal(err)
	}
	b := runctest.NewBundle(t, id, task...)
	b.Spec.Linux.CgroupsPath = "/ztlaunch/" + id
	b.Write(t)
	t.Cleanup(func() {
		mounts, _ := filepath.Glob(filepath.Join(run, "runtime", "*"))
		for _, m := range mounts {
			_ = unix.Unmount(m, unix.MNT_DETACH) // the kept runtime
		}
	})
	return crash{run, b, []string{run, id, b.Dir, path, pin}}
}

func (c crash) start(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{launcherName}, c.args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &said
}

// left tells what there still is of the launches under c.
func (c crash) left(t *testing.T) string {
	t.Helper()
	var found []string
	in, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range in {
		cg := filepath.Join(h.path, "ztlaunch", c.args[1])
		if _, err := os.Stat(cg); err == nil {
			found = append(found, cg)
		}
	}
	found = append(found, tasks(t, c.run)...)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if d == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		line, _ := os.ReadFile(d + "/cmdline")
		cg, _ := os.ReadFile(d + "/cgroup")
		mounts, _ := os.ReadFile(d + "/mountinfo")
		if bytes.Contains(line, []byte(c.run)) || bytes.Contains(line, []byte("\x00"+c.args[1]+"\x00")) ||
			bytes.Contains(cg, []byte("/ztlaunch/"+c.args[1])) || bytes.Contains(mounts, []byte(c.run+"/tasks")) {
			found = append(found, d+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, c.run+"/tasks") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "\n")
}

func (c crash) nothingLeft(t *testing.T) {
	t.Helper()
	var found string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found = c.left(t); found == "" {
			return
		}
	}
	t.Fatalf("left behind:\n%s", found)
}

func TestLaunch(t *testing.T) {
	c := newCrash(t, "zt-good", "exit", "0")
	for range 5 {
		cmd, said := c.start(t)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if found := c.left(t); found != "" {
			t.Fatalf("left behind when the launcher had ended:\n%s", found)
		}
	}
}

// whole is about how long it takes until the task runs, on this machine now.
func (c crash) whole(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	cmd, _ := c.start(t)
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = cmd.Wait() // killed below, or done
	}()
	until(t, "started", func() bool {
		select {
		case <-over:
			return true
		default:
		}
		made, _ := filepath.Glob(filepath.Join(c.run, "tasks", "*", "pid"))
		gone, _ := filepath.Glob(filepath.Join(c.run, "tasks", "*", "state", "*", "exec.fifo"))
		return len(made) == 1 && len(gone) == 0
	})
	took := time.Since(began)
	_ = cmd.Process.Kill()
	<-over
	c.nothingLeft(t)
	return took + took/4
}

// The launcher is killed at any point: nothing is left.
func TestCrash(t *testing.T) {
	for _, task := range [][]string{{"exit", "0"}, {"sleep"}, {"fork", "20"}} {
		t.Run(task[0], func(t *testing.T) {
			c := newCrash(t, "zt-crash-"+task[0], task...)
			n := 10
			if os.Getenv("ZTLAUNCH_E2E") == "require" {
				n = 34
			}
			whole := c.whole(t)
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			for i := range n {
				cmd, said := c.start(t)
				time.Sleep(time.Duration(random.Int64N(int64(whole))))
				if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
				_ = cmd.Wait() // killed, or done before
				c.nothingLeft(t)
				if t.Failed() {
					t.Fatalf("launch %d of seed %d: %s", i, seed, said)
				}
			}
		})
	}
}

// The keeper is killed with the launcher: the next sweep leaves nothing.
func TestCrashOfBoth(t *testing.T) {
	c := newCrash(t, "zt-both", "fork", "5")
	whole := c.whole(t)
	for range 10 {
		cmd, _ := c.start(t)
		time.Sleep(rand.N(whole))
		// Children of the launcher: the keeper, and the runtime or init.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		var keepers []int
		for f := range strings.FieldsSeq(string(b)) {
			line, _ := os.ReadFile("/proc/" + f + "/cmdline")
			if bytes.HasPrefix(line, []byte(Name)) {
				var pid int
				_, _ = fmt.Sscan(f, &pid)
				keepers = append(keepers, pid)
			}
		}
		for _, pid := range keepers {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		// What was being made without a keeper ends with the runtime.
		until(t, "swept", func() bool { return Sweep(c.run) == nil && c.left(t) == "" })
	}
}
