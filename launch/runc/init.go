package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Init is a process that the runtime started, held by a pidfd: its id cannot
// come to mean another process while it is watched or not yet waited for.
type Init struct {
	PID  int
	file *os.File
}

// Watch holds the process pid.
func Watch(pid int) (Init, error) {
	fd, err := unix.PidfdOpen(pid, unix.O_NONBLOCK)
	if err != nil {
		return Init{}, fmt.Errorf("open process %d: %w", pid, err)
	}
	return Init{pid, os.NewFile(uintptr(fd), "pidfd")}, nil
}

func (i Init) fd() int { return int(i.file.Fd()) }

// File is the pidfd.
func (i Init) File() *os.File { return i.file }

// Close lets go of the process; it does not end it.
func (i Init) Close() { i.file.Close() }

// Signal sends sig; a process that has ended is no error.
func (i Init) Signal(sig syscall.Signal) error {
	if err := unix.PidfdSendSignal(i.fd(), sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", i.PID, err)
	}
	return nil
}

// Exit is how a process ended.
type Exit struct {
	Code   int            // its own code; 0 if a signal ended it
	Signal syscall.Signal // 0 if none did
	CPU    time.Duration  // user and system time of it and the children it waited for
	MaxRSS int64          // the largest resident set among them, in bytes
}

// Status is the exit status that docker gives: the code, or 128 + the signal.
func (e Exit) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// Wait waits until the process has ended, and reaps it. It takes no other
// child's status. The process must be a child of this one, see Adopt. When ctx
// ends first its cause is returned and the process goes on.
func (i Init) Wait(ctx context.Context) (Exit, error) {
	if err := i.file.SetReadDeadline(time.Time{}); err != nil { // a wait before this one may have been given up
		return Exit{}, fmt.Errorf("wait for process %d: %w", i.PID, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = i.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := i.file.SyscallConn()
	if err != nil {
		return Exit{}, err
	}
	var (
		status unix.WaitStatus
		usage  unix.Rusage
		got    int
		werr   error
	)
	err = raw.Read(func(uintptr) bool {
		for {
			got, werr = unix.Wait4(i.PID, &status, unix.WNOHANG, &usage)
			if !errors.Is(werr, unix.EINTR) {
				return got != 0 || werr != nil
			}
		}
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return Exit{}, context.Cause(ctx)
	case err != nil:
		return Exit{}, fmt.Errorf("wait for process %d: %w", i.PID, err)
	case werr != nil:
		return Exit{}, fmt.Errorf("wait for process %d: %w", i.PID, werr)
	}
	e := Exit{Code: status.ExitStatus(), CPU: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), MaxRSS: usage.Maxrss << 10}
	if status.Signaled() {
		e.Code, e.Signal = 0, status.Signal()
	}
	return e, nil
}
