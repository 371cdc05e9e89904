package launch

import (
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/runc"
)

// streams are the task's standard streams in one of two forms.
type streams interface {
	box() runc.Streams // what the runtime is told
	created() error    // after create: take what the runtime made
	started()          // after start: copy
	resize()           // the caller's terminal changed its size
	drain() error      // after the end: until everything was copied
	close()
}

// openStreams makes the form that the plan asks for.
func openStreams(p plan.Plan, s Stdio, dir string, uid, gid int) (streams, error) {
	if p.Terminal() {
		return newTerminal(s, dir)
	}
	return newPipes(s, uid, gid)
}

// terminal is a pseudo-terminal that the runtime makes inside the box. Its
// master arrives on a socket (runtime-spec, "console socket").
type terminal struct {
	stdio  Stdio
	folder *os.File
	socket *net.UnixListener
	master *os.File
	state  *term.State
	lost   lost
	copied chan struct{}
}

func newTerminal(s Stdio, dir string) (*terminal, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	// A socket's name may have 107 bytes; this one is short wherever the folder is.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(fdPath(folder), "console"), Net: "unix"})
	if err != nil {
		folder.Close()
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it goes with the task's folder
	return &terminal{stdio: s, folder: folder, socket: l, copied: make(chan struct{})}, nil
}

func (t *terminal) box() runc.Streams {
	return runc.Streams{Console: filepath.Join(fdPath(t.folder), "console")}
}

// created takes the master and puts the caller's terminal into raw mode.
func (t *terminal) created() error {
	c, err := t.socket.AcceptUnix()
	if err != nil {
		return refused("take the task's terminal", err)
	}
	defer func() { _ = c.Close() }()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 4096), oob)
	if err != nil {
		return refused("take the task's terminal", err)
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err == nil && len(messages) == 1 {
		fds, err = unix.ParseUnixRights(&messages[0])
	}
	if err != nil || len(fds) != 1 {
		return refused("take the task's terminal", os.ErrInvalid)
	}
	unix.CloseOnExec(fds[0])
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return refused("take the task's terminal", err)
	}
	t.master = os.NewFile(uintptr(fds[0]), "terminal")
	t.resize()
	if t.stdio.In != nil && term.IsTerminal(int(t.stdio.In.Fd())) {
		t.state, err = term.MakeRaw(int(t.stdio.In.Fd()))
		if err != nil {
			return refused("set the caller's terminal raw", err)
		}
	}
	return nil
}

func (t *terminal) started() {
	if t.stdio.In != nil {
		go func() { _, _ = io.Copy(t.master, t.stdio.In) }() // until the task is over
	}
	go func() {
		defer close(t.copied)
		_, err := io.Copy(t.stdio.Out, t.master) // ends with EIO when the last user of the terminal is gone
		t.lost.add(err)
	}()
}

// resize gives the task's terminal the size of the caller's.
func (t *terminal) resize() {
	if t.master == nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(int(t.stdio.Out.Fd()), unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

func (t *terminal) drain() error {
	<-t.copied
	return t.lost.err
}

func (t *terminal) close() {
	if t.state != nil {
		_ = term.Restore(int(t.stdio.In.Fd()), t.state)
	}
	_ = t.socket.Close()
	t.folder.Close()
	if t.master != nil {
		t.master.Close()
	}
}
