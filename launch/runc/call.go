package runc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// answerMax bounds what is read of the runtime's log and output, in bytes.
const answerMax = 1 << 20

// environment is all that the runtime sees of ours: nothing that steers a
// dynamic linker, a Go program, socket activation or readiness notification.
// The path is for newuidmap in rootless use.
var environment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}

// call is one execution of the runtime.
type call struct {
	code  reason.Code // of its failure
	what  string      // the act, for the error
	root  string      // the state folder; "" for calls about no container
	args  []string
	files [3]*os.File // nil is /dev/null
	extra []*os.File  // descriptors 3 and up
	life  *os.File    // held open by the runtime, not by what it starts
}

// run executes the runtime and waits for it. The process is forked from the
// calling thread: it has that thread's mount namespace, and dies with it.
//
// The log goes to memory of ours, since the runtime's standard error is the
// task's.
func (r Runtime) run(ctx context.Context, c call) error {
	if r.Zero() {
		return &reason.Error{Code: reason.RuntimeAbsent, What: c.what, Expected: "a runtime", Found: "none"}
	}
	said, err := memory("log")
	if err != nil {
		return err
	}
	defer said.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return &reason.Error{Code: c.code, What: "open " + os.DevNull, Err: err}
	}
	defer null.Close()
	files := make([]*os.File, 0, 5+len(c.extra))
	for _, f := range c.files {
		if f == nil {
			f = null
		}
		files = append(files, f)
	}
	files = append(files, c.extra...)
	files = append(files, said)
	args := []string{"runc", "--log", "/proc/self/fd/" + strconv.Itoa(len(files)-1), "--log-format", "json"}
	if c.root != "" {
		args = append(args, "--root", c.root)
	}
	if c.life != nil {
		files = append(files, c.life)
	}

	runtime.LockOSThread() // Pdeathsig counts the thread that forked
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess(r.File(), append(args, c.args...), &os.ProcAttr{
		Dir: "/", Env: environment, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return &reason.Error{Code: c.code, What: c.what, Err: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Kill() }) // it may be gone
	state, err := p.Wait()
	stop()
	switch {
	case err != nil:
		return &reason.Error{Code: c.code, What: c.what, Err: err}
	case ctx.Err() != nil && !state.Success():
		return &reason.Error{Code: c.code, What: c.what, Err: context.Cause(ctx)}
	case !state.Success():
		found := state.String()
		if b, err := contents(said); err == nil {
			if m := lastError(b); m != "" {
				found = m
			}
		}
		return &reason.Error{Code: c.code, What: c.what, Found: found}
	}
	return nil
}

// lastError is the last message of level error or worse in a runtime's JSON
// log, made safe to print.
func lastError(log []byte) string {
	last := ""
	for line := range bytes.Lines(log) {
		var e struct{ Level, Msg string }
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		switch e.Level {
		case "error", "fatal", "panic":
			last = e.Msg
		}
	}
	return clean(last)
}

// clean makes text of a process that read hostile input fit for one line of a
// terminal: no control or format characters, at most 500 characters.
func clean(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range strings.TrimSpace(s) {
		if n++; n > 500 {
			b.WriteString("...")
			break
		}
		switch {
		case c == '\n' || c == '\t':
			c = ' '
		case c == unicode.ReplacementChar || !unicode.IsPrint(c):
			c = '?'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// memory is a file without a name.
func memory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// contents reads such a file from its start.
func contents(f *os.File) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(f, 0, answerMax))
}
