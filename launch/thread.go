package launch

import (
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
)

// thread is one OS thread in a mount namespace of its own. Everything that is
// mounted for a task is mounted on it, the runtime is started from it, and when
// it ends, or the process dies in any way, the namespace and every mount in it
// are gone with it.
//
// A namespace belongs to a thread, not to a goroutine: whoever touches a path
// of the task does so inside do.
type thread struct {
	calls chan call
	gone  chan struct{}
}

type call struct {
	f    func() error
	done chan error
}

// startThread starts the thread and takes it into its private namespace.
func startThread() (*thread, error) {
	t := &thread{make(chan call), make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(t.gone)
		err := rootfs.Private(func() error {
			ready <- nil
			for c := range t.calls {
				c.done <- c.f()
			}
			return nil
		})
		if err != nil {
			ready <- err
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return t, nil
}

// do runs f on the thread.
func (t *thread) do(f func() error) error {
	c := call{f, make(chan error)}
	t.calls <- c
	return <-c.done
}

// stop ends the thread, and with it the namespace and its mounts.
func (t *thread) stop() {
	close(t.calls)
	<-t.gone
}
