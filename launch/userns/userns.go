// Package userns makes user namespaces: maps of ids that mounts and tasks are
// given, with no process in them.
//
// A namespace is made with a child that is born in it and traced: it stops before
// the first instruction of its program, is never resumed, and is killed as soon as
// its namespace is open. The child is a copy of this process until then, so a
// namespace is cheap to make in a small process and dear in a large one.
package userns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Map is one line of a user namespace's uid_map or gid_map: Count ids from Inside on
// are Outside and following ones in the namespace of the caller.
type Map struct {
	Inside  uint32 `json:"inside"`
	Outside uint32 `json:"outside"`
	Count   uint32 `json:"count"`
}

// New makes a user namespace with the given maps and returns a descriptor of it; the
// namespace lives as long as descriptors and mounts refer to it.
func New(uids, gids []Map) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		// The tracer is a thread, and so is the parent that Pdeathsig means.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f, err := traced(uids, gids)
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

func traced(uids, gids []Map) (f *os.File, err error) {
	child, err := os.StartProcess("/proc/self/exe", []string{"ztlaunch-userns"}, &os.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: idMaps(uids),
			GidMappings: idMaps(gids),
			// As with docker: a program that changes its user drops its groups too.
			GidMappingsEnableSetgroups: true,
			Ptrace:                     true,
			Pdeathsig:                  unix.SIGKILL,
		},
	})
	if err != nil {
		return nil, err
	}
	f, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", child.Pid))
	if err = errors.Join(err, reap(child)); err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return f, nil
}

// reap kills the traced child and waits until it is gone.
func reap(child *os.Process) error {
	defer func() { _ = child.Release() }()
	if err := child.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(child.Pid, &ws, 0, nil)
		switch {
		case err == unix.EINTR, err == nil && pid == child.Pid && ws.Stopped():
		case err != nil:
			return os.NewSyscallError("wait4", err)
		default:
			return nil
		}
	}
}

func idMaps(maps []Map) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, len(maps))
	for i, m := range maps {
		out[i] = syscall.SysProcIDMap{ContainerID: int(m.Inside), HostID: int(m.Outside), Size: int(m.Count)}
	}
	return out
}
