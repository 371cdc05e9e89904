package launch

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/runc"
)

// Signals starts to catch what docker forwards to a task: everything that can be
// caught but the signals that the Go runtime, the shell's job control of a
// terminal and broken pipes need for themselves. Stop gives them back.
func Signals() (caught chan os.Signal, stop func()) {
	caught = make(chan os.Signal, 64)
	signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGALRM, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH, unix.SIGXCPU,
		unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGTRAP, unix.SIGABRT)
	signal.Ignore(unix.SIGPIPE)
	return caught, func() { signal.Stop(caught) }
}

// forward passes signals on to the task's first process until done is closed. One
// that comes while this still is the runtime's own waits for the task's program.
// One that the task ignores stays ignored, as the kernel has it for a first
// process.
func forward(caught <-chan os.Signal, init runc.Init, resize func(), done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s := <-caught:
			n, ok := s.(unix.Signal)
			switch {
			case !ok:
			case n == unix.SIGWINCH:
				resize()
			default:
				executed(init.PID, done)
				_ = init.Signal(n) // gone already: nothing to tell
			}
		}
	}
}

// executed waits until the runtime's init has become the task's program, which it
// does at once: a task that takes init's name is believed for a moment only.
func executed(pid int, done <-chan struct{}) {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if err != nil || !bytes.HasPrefix(name, []byte("runc:[")) {
			return
		}
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}
