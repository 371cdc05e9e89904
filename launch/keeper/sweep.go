package keeper

import (
	"errors"
	"os"
	"path/filepath"
)

// Sweep cleans up after launches whose launcher and keeper are both gone, under
// the run folder run. Launches that live are not touched, however many start or
// sweep at once. With nothing to do it is one listing and one try for a lock per
// live task.
//
// Code: keeper-unclean.
func Sweep(run string) error {
	tasks := filepath.Join(run, "tasks")
	entries, err := os.ReadDir(tasks)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
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
	return errors.Join(err, clean(dir, left))
}
