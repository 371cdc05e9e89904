package audit

import (
	"errors"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// patience is how long an append waits for the others. One takes milliseconds;
// a lock held longer belongs to a process that was stopped.
const patience = 20 * time.Second

// lock locks a folder, through a descriptor of its own, so that it holds between
// goroutines too.
func lock(dir string, shared bool) (unlock func(), err error) {
	d, err := file.Folder(dir)
	if err != nil {
		return nil, unwritable("lock "+dir, err)
	}
	err = file.Lock(d, shared, false)
	if errors.Is(err, file.ErrBusy) {
		done := make(chan error, 1)
		go func() { done <- file.Lock(d, shared, true) }()
		t := time.NewTimer(patience)
		defer t.Stop()
		select {
		case err = <-done:
		case <-t.C:
			go func() { // the wait cannot be called off
				<-done //nolint:errcheck // won or lost, it is let go
				d.Close()
			}()
			return nil, &reason.Error{Code: reason.AuditUnwritable, What: "lock " + dir,
				Expected: "the lock within " + patience.String(), Found: "another process holds it",
				Next: "fuser -v " + dir}
		}
	}
	if err != nil {
		d.Close()
		return nil, unwritable("lock "+dir, err)
	}
	return func() { d.Close() }, nil
}

func unwritable(what string, err error) error {
	return &reason.Error{Code: reason.AuditUnwritable, What: what, Err: err,
		Next: "make room, or make the folder writable, and try again"}
}

// refusal keeps a refusal as it is and calls everything else unwritable.
func refusal(what string, err error) error {
	if e, ok := reason.Of(err); ok {
		return e
	}
	return unwritable(what, err)
}
