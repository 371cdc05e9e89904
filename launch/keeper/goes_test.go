package keeper

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountsGo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ZTLAUNCH_E2E: not root")
	}
	run := t.TempDir()
	k := begin(t, run)
	at := filepath.Join(k.Dir(), "memory")
	if err := k.Will(Mount(at)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	die(k)
	<-k.Lost()
	if len(tasks(t, run)) != 0 {
		t.Error("the folder stayed")
	}
	if b, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(b), at) {
		t.Errorf("the mounts stayed: %v", err)
	}
}

func TestInitGoes(t *testing.T) {
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- child.Wait() }()
	e, err := Init(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	other := e
	other.Start++
	k := begin(t, t.TempDir())
	if err := k.Will(other); err != nil {
		t.Fatal(err)
	}
	if err := k.Clean(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-over:
		t.Fatal("a process with another start time was killed")
	default:
	}
	k = begin(t, t.TempDir())
	if err := k.Will(e); err != nil {
		t.Fatal(err)
	}
	die(k)
	var exit *exec.ExitError
	if err := <-over; !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("%v", err)
	}
}

// Whatever is in a task's user namespace goes, and nothing else; one's own is refused.
func TestUsernsGoes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ZTLAUNCH_E2E: not root")
	}
	run := t.TempDir()
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 2_000_000_000, Size: 1}}
	inside, outside := exec.Command("sleep", "60"), exec.Command("sleep", "60")
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: one, GidMappings: one}
	for _, c := range []*exec.Cmd{inside, outside} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", inside.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	entry, err := Userns(ns)
	k := begin(t, run)
	if err := errors.Join(err, k.Will(entry)); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { _ = inside.Wait(); close(gone) }() // a zombie is still in its namespace
	die(k)
	<-gone
	if err := outside.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another process went too: %v", err)
	}
	until(t, "the folder is gone", func() bool { return len(tasks(t, run)) == 0 })
	own, err := os.Open("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if e, err := Userns(own); err != nil || e.check() == nil {
		t.Errorf("the own namespace may be named: %v", err)
	}
}
