package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attempt is the word under which this program starts itself for one system call.
const attempt = "attempt-syscall"

// trySyscall makes the call in a process of its own: a filter may kill the caller,
// and a call that succeeds may leave the caller changed.
func trySyscall(name string) result {
	var words, out bytes.Buffer
	c := exec.Command("/proc/self/exe", attempt, name)
	c.Stdout, c.Stderr = &out, &words
	dead, err := runAttempt(c)
	if dead {
		return result{Probe: "syscall", Target: name, Outcome: refused, Signal: "SIGSYS"}
	}
	line := out.Bytes()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return result{Probe: "syscall", Target: name, Outcome: refused, Signal: unix.SignalName(status.Signal())}
		}
		if len(line) == 0 { // the runtime caught a fault
			first, _, _ := strings.Cut(words.String(), "\n")
			return result{Probe: "syscall", Target: name, Outcome: refused, Error: "the caller died: " + first}
		}
		err = nil
	}
	var r result
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		return answer("syscall", name, fmt.Errorf("attempt: %w", err))
	}
	return r
}

// runAttempt runs c to its end, or until its first thread is dead while others
// live: a filter kills the thread that comes through another architecture's door,
// and the rest of a Go program waits for it for ever.
func runAttempt(c *exec.Cmd) (dead bool, err error) {
	if err := c.Start(); err != nil {
		return false, err
	}
	over := make(chan error, 1)
	go func() { over <- c.Wait() }()
	for {
		select {
		case err := <-over:
			return false, err
		case <-time.After(time.Second):
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
		_, rest, _ := strings.Cut(string(stat), ") ")
		if err == nil && strings.HasPrefix(rest, "Z") {
			if err := c.Process.Kill(); err != nil {
				return false, err
			}
			return <-over != nil, nil // killed, unless it ended meanwhile
		}
	}
}

// attemptSyscall makes the call and judges its errno. The arguments are harmless
// where nothing filters: they lead to an error of the call's own (ENOENT, EFAULT,
// EBADF, EINVAL), and that error shows that the call was reached.
func attemptSyscall(name string, out io.Writer) int {
	call, ok := syscalls[name]
	if !ok {
		return 2
	}
	r := answer("syscall", name, call())
	switch syscall.Errno(r.Number) {
	case unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EAFNOSUPPORT:
	default:
		r.Outcome = allowed
	}
	return printResult(out, r)
}
