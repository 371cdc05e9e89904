package launch

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/runc"
)

// Stdio is the caller's side of the task's standard streams. Stdin is nil
// unless the task is interactive. The task never gets these descriptors: it
// gets pipes, or a terminal, that the launcher made and the task's user owns.
type Stdio struct {
	In       *os.File
	Out, Err *os.File
}

// pipes are the three pipes between the launcher and a task without a terminal.
type pipes struct {
	stdio  Stdio
	theirs [3]*os.File // the task's ends
	ours   [3]*os.File // the launcher's ends; ours[0] is nil without an interactive stdin
	outs   sync.WaitGroup
	lost   lost
}

// lost is the first reason why not all of the task's output was passed on.
type lost struct {
	mu  sync.Mutex
	err error
}

// add notes the end of a copy. A reader who went away lost nothing that he wanted:
// the task learns of it.
func (l *lost) add(err error) {
	if err == nil || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EIO) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// newPipes makes the pipes and gives the task's ends to its user, so that the
// task can open /dev/stdout and /dev/stderr again by name.
func newPipes(s Stdio, uid, gid int) (*pipes, error) {
	p := &pipes{stdio: s}
	for i := range p.theirs {
		if i == 0 && s.In == nil { // the runtime opens /dev/null
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			p.close()
			return nil, err
		}
		if i == 0 {
			p.theirs[i], p.ours[i] = r, w
		} else {
			p.theirs[i], p.ours[i] = w, r
		}
		if err := p.theirs[i].Chown(uid, gid); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *pipes) box() runc.Streams {
	return runc.Streams{Stdin: p.theirs[0], Stdout: p.theirs[1], Stderr: p.theirs[2]}
}

// created closes the task's ends in the launcher, so that their end can be seen.
func (p *pipes) created() error {
	for _, f := range p.theirs {
		if f != nil {
			f.Close()
		}
	}
	return nil
}

func (p *pipes) resize() {}

// started begins to copy. The end of
// the caller's input closes the task's once; an output that nobody reads any
// more is closed, so that the task gets the signal that it would get without us.
func (p *pipes) started() {
	if p.ours[0] != nil {
		go func() {
			_, _ = io.Copy(p.ours[0], p.stdio.In) // the task may stop reading: not an error of ours
			p.ours[0].Close()
		}()
	}
	for i, dst := range map[int]*os.File{1: p.stdio.Out, 2: p.stdio.Err} {
		p.outs.Go(func() {
			_, err := io.Copy(dst, p.ours[i])
			p.lost.add(err)
			p.ours[i].Close()
		})
	}
}

// drain waits until everything that the task wrote has been copied, and says why
// some was not.
func (p *pipes) drain() error {
	p.outs.Wait()
	return p.lost.err
}

func (p *pipes) close() {
	for i := range p.theirs {
		for _, f := range []*os.File{p.theirs[i], p.ours[i]} {
			if f != nil {
				f.Close()
			}
		}
	}
}
