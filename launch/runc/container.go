package runc

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Container is what the runtime is told of one container. Every path is
// absolute.
type Container struct {
	ID     string // its name below State
	Bundle string // the folder that holds config.json
	State  string // the runtime's state folder ("--root")
	Streams

	// Life is kept open by the runtime's own process for as long as it runs,
	// and not by the container: the keeper's line, which so ends only when
	// neither ztlaunch nor the runtime can make anything new.
	Life *os.File
}

// Streams are what the container's first process, or one added by Exec, has as
// descriptors. A terminal is asked for by the configuration; its master arrives
// on the console socket.
type Streams struct {
	Stdin, Stdout, Stderr *os.File // nil is /dev/null
	Extra                 []*os.File
	Console               string // path of a listening socket; "" without a terminal
	PidFile               string // "" is Bundle/pid
}

func (s Streams) args(pidFile string) []string {
	args := []string{"--pid-file", pidFile}
	if s.Console != "" {
		args = append(args, "--console-socket", s.Console)
	}
	if n := len(s.Extra); n > 0 {
		args = append(args, "--preserve-fds", strconv.Itoa(n))
	}
	return args
}

// Adopt makes this process the parent of every orphan among its descendants,
// so that a container's init can be waited for once create has ended.
func Adopt() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// Create runs `create`: afterwards the container's init exists, its root is
// mounted, and it waits for Start. Call it from the thread whose mount
// namespace holds the container's mounts, with that thread locked
// (runtime.LockOSThread), and after Adopt.
//
// When create fails or ctx ends, anything may be left behind, and the runtime's
// own error text may stand in Stderr: both are the caller's to drop.
//
// Codes: runtime-create-failed, and runtime-absent for the zero Runtime.
func (r Runtime) Create(ctx context.Context, c Container) (Init, error) {
	what := "create container " + c.ID
	if err := r.run(ctx, call{
		code: reason.RuntimeCreate, what: what, root: c.State, life: c.Life,
		files: [3]*os.File{c.Stdin, c.Stdout, c.Stderr}, extra: c.Extra,
		args: append(append([]string{"create", "--bundle", c.Bundle}, c.args(c.pidFile())...), "--", c.ID),
	}); err != nil {
		return Init{}, err
	}
	return open(reason.RuntimeCreate, what, c.pidFile())
}

func (c Container) pidFile() string {
	if c.PidFile != "" {
		return c.PidFile
	}
	return filepath.Join(c.Bundle, "pid")
}

// open reads the pid file that the runtime wrote.
func open(code reason.Code, what, name string) (Init, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return Init{}, &reason.Error{Code: code, What: what, Err: err}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err == nil && pid <= 1 {
		err = errors.New("no process has this id")
	}
	if err != nil {
		return Init{}, &reason.Error{Code: code, What: what, Err: err}
	}
	i, err := Watch(pid)
	if err != nil {
		return Init{}, &reason.Error{Code: code, What: what, Err: err}
	}
	return i, nil
}

// Start lets the init of a created container execute the task. With the pinned
// runtime it starts no process: it opens the fifo that init waits on.
//
// Code: runtime-start-failed; its Found says so when init had died.
func (r Runtime) Start(ctx context.Context, c Container, i Init) error {
	what := "start container " + c.ID
	if !r.pinned {
		return r.run(ctx, call{code: reason.RuntimeStart, what: what, root: c.State, args: []string{"start", "--", c.ID}})
	}
	if err := release(ctx, filepath.Join(c.State, c.ID, "exec.fifo"), i); err != nil {
		return &reason.Error{Code: reason.RuntimeStart, What: what, Err: err}
	}
	return nil
}

// release does what `runc start` does: init opens the fifo for writing, which
// blocks until somebody reads, writes a byte and executes the task.
func release(ctx context.Context, name string, i Init) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	// A reader that came first sees nothing, not an end of file, until a writer
	// has come. An init that dies before never comes.
	wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(i.fd()), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		n, err := unix.Poll(wait, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if n <= 0 {
			continue
		}
		var b [1]byte
		if n, _ := unix.Read(fd, b[:]); n == 1 { // a short task may be over already
			return remove(name)
		}
		return errors.New("the container's init ended before it was started")
	}
	return context.Cause(ctx)
}

// State runs `state`.
//
// Code: runtime-state-failed, also when there is no such container.
func (r Runtime) State(ctx context.Context, c Container) (specs.State, error) {
	what := "read the state of container " + c.ID
	out, err := memory("stdout")
	if err != nil {
		return specs.State{}, err
	}
	defer out.Close()
	if err := r.run(ctx, call{code: reason.RuntimeState, what: what, root: c.State,
		files: [3]*os.File{1: out}, args: []string{"state", "--", c.ID}}); err != nil {
		return specs.State{}, err
	}
	var s specs.State
	b, err := contents(out)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return specs.State{}, &reason.Error{Code: reason.RuntimeState, What: what, Err: err}
	}
	return s, nil
}

// Kill runs `kill`. A launcher that holds the Init signals that instead.
//
// Code: runtime-kill-failed.
func (r Runtime) Kill(ctx context.Context, c Container, sig syscall.Signal) error {
	return r.run(ctx, call{code: reason.RuntimeKill, what: "signal container " + c.ID, root: c.State,
		args: []string{"kill", "--", c.ID, strconv.Itoa(int(sig))}})
}

// Delete runs `delete --force`, which takes 100 ms when something is alive: it
// is for runtimes other than the pinned one, whose state is not ours to remove.
//
// Code: runtime-delete-failed.
func (r Runtime) Delete(ctx context.Context, c Container) error {
	return r.run(ctx, call{code: reason.RuntimeDelete, what: "delete container " + c.ID, root: c.State,
		args: []string{"delete", "--force", "--", c.ID}})
}

// Exec adds a process to a running container: p, detached, as a child of this
// process (after Adopt). Its configuration is written to the file process and
// left there.
//
// Code: runtime-exec-failed.
func (r Runtime) Exec(ctx context.Context, c Container, process string, p specs.Process, s Streams) (Init, error) {
	what := "execute in container " + c.ID
	b, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(process, b, 0o600)
	}
	if err != nil {
		return Init{}, &reason.Error{Code: reason.RuntimeExec, What: what, Err: err}
	}
	if s.PidFile == "" {
		s.PidFile = process + ".pid"
	}
	if err := r.run(ctx, call{
		code: reason.RuntimeExec, what: what, root: c.State, life: c.Life,
		files: [3]*os.File{s.Stdin, s.Stdout, s.Stderr}, extra: s.Extra,
		args: append(append([]string{"exec", "--detach", "--process", process}, s.args(s.PidFile)...), "--", c.ID),
	}); err != nil {
		return Init{}, err
	}
	return open(reason.RuntimeExec, what, s.PidFile)
}
