// Package outer takes a launcher without privilege into a user and mount namespace
// of its own, in which it has every capability and can make what a launch needs. It
// is the only way to launch without CAP_SYS_ADMIN in the first user namespace.
//
// The namespace's ids are the caller's, as 0, and then all subordinate ids that
// /etc/subuid and /etc/subgid give to the caller, from 1 on. Only newuidmap and
// newgidmap may map them; both are executed from the system's folders, never from
// PATH. At least 65,536 ids are needed: a task has as many.
//
// Run starts this program again under the name Name, as a traced child that is born
// in the namespaces and stops before its first instruction. It keeps its
// capabilities across the execution as ambient ones, because its ids are mapped only
// then; then it is let go. It dies with its parent. The parent only waits, passes
// signals on and gives the child's exit status.
//
// The package does not check that the host lets a launch succeed there: Enter tries
// the first mount, and the launch itself the rest.
package outer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Name is argv[0] of the program inside. It grants nothing: whoever uses it without
// the namespace is refused by the first mount.
const Name = "ztlaunch-outer"

// refused is why nothing can be launched here.
func refused(expected, found, next string, err error) error {
	return &reason.Error{Code: reason.HostCannotLaunch, What: "launch without privilege", Expected: expected, Found: found, Next: next, Err: err}
}

// Run runs this program inside, with args after its name, the caller's environment
// and files as its descriptors 0 and up (nil is none), and returns its exit status.
// An error, always host-cannot-launch, means that nothing of it ran.
func Run(args []string, files []*os.File, signals <-chan os.Signal) (status int, err error) {
	ids, err := find("/")
	if err != nil {
		return 0, err
	}
	// The tracer is a thread, and so is the parent whose death the child follows.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := os.StartProcess("/proc/self/exe", append([]string{Name}, args...), &os.ProcAttr{Env: os.Environ(), Files: files,
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Ptrace: true, Pdeathsig: unix.SIGKILL, AmbientCaps: all()}})
	if err != nil {
		return 0, refused("a user namespace of its own", err.Error(), namespaces, nil)
	}
	if err := letGo(child.Pid, ids); err != nil {
		_ = child.Kill() // it is stopped
		_, _ = wait(child.Pid)
		return 0, err
	}
	over := make(chan struct{})
	defer close(over)
	go forward(signals, child.Pid, over)
	ws, err := wait(child.Pid)
	if err != nil {
		return 0, refused("the end of the launch", err.Error(), "", nil)
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// namespaces is what helps where they cannot be made or used.
const namespaces = "on the host itself: sysctl user.max_user_namespaces=15000 kernel.apparmor_restrict_unprivileged_userns=0; or run it as root there"

// all are the capabilities of a new user namespace.
func all() []uintptr {
	last := uintptr(unix.CAP_LAST_CAP)
	if b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 8); err == nil {
			last = uintptr(n)
		}
	}
	var caps []uintptr
	for c := uintptr(0); c <= last; c++ {
		caps = append(caps, c)
	}
	return caps
}

// letGo maps the stopped child's ids and resumes it.
func letGo(pid int, ids ids) error {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || !ws.Stopped() {
			return refused("a process in a user namespace", fmt.Sprintf("status %#x, %v", uint32(ws), err), namespaces, nil)
		}
		break
	}
	for _, m := range []struct{ program, words string }{{ids.newuidmap, ids.uids}, {ids.newgidmap, ids.gids}} {
		c := exec.Command(m.program, append([]string{strconv.Itoa(pid)}, strings.Fields(m.words)...)...)
		c.Env, c.Dir = []string{}, "/"
		if said, err := c.CombinedOutput(); err != nil {
			return refused("the subordinate ids mapped by "+m.program, strings.TrimSpace(string(said)),
				"apt-get install --reinstall uidmap; it has to be set-user-ID root and its lines in /etc/subuid and /etc/subgid the caller's own", err)
		}
	}
	if err := unix.PtraceDetach(pid); err != nil {
		return refused("a process in a user namespace", err.Error(), namespaces, nil)
	}
	return nil
}

func wait(pid int) (ws unix.WaitStatus, err error) {
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if err == nil && (ws.Exited() || ws.Signaled()) {
			return ws, nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return ws, os.NewSyscallError("wait4", err)
		}
	}
}

// forward passes signals on until over is closed. What a terminal sends its
// foreground processes the child has got already.
func forward(signals <-chan os.Signal, pid int, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case s := <-signals:
			n, ok := s.(unix.Signal)
			if ok && !(fromTerminal(n) && foreground()) {
				_ = unix.Kill(pid, n) // it is waited for only after
			}
		}
	}
}

func fromTerminal(s unix.Signal) bool {
	switch s {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH, unix.SIGHUP, unix.SIGCONT, unix.SIGTTIN, unix.SIGTTOU:
		return true
	}
	return false
}

// foreground says whether this process's group has the terminal.
func foreground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Caller is the uid of who started the launcher.
func Caller() int {
	own := os.Getuid()
	if os.Args[0] != Name {
		return own
	}
	raw, _ := os.ReadFile("/proc/self/uid_map")
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == strconv.Itoa(own) {
			if outside, err := strconv.Atoi(f[1]); err == nil {
				return outside
			}
		}
	}
	return own
}

// Enter is the first act of the program inside: nothing propagates to or from the
// caller's mounts. It does nothing in the first user namespace, whose mounts are
// everybody's. A host that lets namespaces be made but not be used is
// host-cannot-launch.
func Enter() error {
	if b, err := os.ReadFile("/proc/self/uid_map"); err != nil || strings.Join(strings.Fields(string(b)), " ") == "0 0 4294967295" {
		return refused("a user namespace of its own", "the first one", "ztlaunch run ...", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return refused("mounts in a namespace of its own", err.Error(), namespaces, nil)
	}
	return nil
}
