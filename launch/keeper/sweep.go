package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Sweep cleans up after launches whose launcher and keeper are both gone, under
// the run folder run. Launches that live are not touched, however many start or
// sweep at once. With nothing to do it is one listing and one try for a lock per
// live task.
//
// Codes: keeper-unclean; keeper-failed, for a run folder that others could write.
func Sweep(run string) error {
	tasks := filepath.Join(run, "tasks")
	if _, err := os.Lstat(tasks); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := private(tasks); err != nil {
		return &reason.Error{Code: reason.KeeperFailed, What: "clean up after earlier launches", Err: err, Next: nextPrivate}
	}
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, sweep(filepath.Join(tasks, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func sweep(dir string) error {
	lock, err := lockFolder(dir)
	if lock == nil || err != nil {
		return err
	}
	defer lock.Close()
	left, err := readRecord(dir)
	// The number of a user namespace is given to another once it is gone: it means
	// something only while somebody holds the namespace, as a living keeper does.
	left = slices.DeleteFunc(left, func(e Entry) bool { return e.Userns != 0 })
	return errors.Join(err, clean(dir, left))
}
