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
// namespace lives as long as descriptors and mounts refer to it. The child is dead
// then. Before its id can be another's it is given to dead, if there is one, which
// New does not wait for.
func New(uids, gids []Map, dead func(pid int)) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		// The tracer is a thread, and so is the parent that Pdeathsig means.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f, err := traced(uids, gids, dead)
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

func traced(uids, gids []Map, dead func(pid int)) (f *os.File, err error) {
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
	if err = errors.Join(err, kill(child)); err != nil {
		if f != nil {
			f.Close()
		}
		return nil, errors.Join(err, reap(child))
	}
	if dead == nil {
		return f, reap(child)
	}
	go func() {
		dead(child.Pid)
		_ = reap(child) // it is a child of ours, and dead
	}()
	return f, nil
}

// kill kills the traced child and waits until it is dead.
func kill(child *os.Process) error {
	if err := child.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, child.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return os.NewSyscallError("waitid", err)
		}
	}
}

// reap lets go of the dead child.
func reap(child *os.Process) error {
	defer func() { _ = child.Release() }()
	for {
		_, err := unix.Wait4(child.Pid, nil, 0, nil)
		if err != unix.EINTR {
			return os.NewSyscallError("wait4", err)
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
