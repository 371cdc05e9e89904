//go:build linux

package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// cidFile is where --cidfile has the task's id written: a new file, since one that is
// there may be of a task that still runs.
type cidFile struct {
	file *os.File
	kept bool
}

// openCID makes the file before anything else is done; without the flag it is nil.
func openCID(name string) (*cidFile, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, &reason.Error{Code: reason.FileUnwritable, What: "open --cidfile " + name, Expected: "a new file",
			Found: "one that is there, maybe of a task that still runs", Next: "rm " + reason.Word(name)}
	case err != nil:
		return nil, &reason.Error{Code: reason.FileUnwritable, What: "open --cidfile " + name, Expected: "a new file in a writable folder", Err: err}
	}
	return &cidFile{file: f}, nil
}

// write keeps the file, with the id of a task that is about to start.
func (c *cidFile) write(id string) error {
	if c == nil {
		return nil
	}
	if _, err := c.file.WriteString(id); err != nil {
		return &reason.Error{Code: reason.FileUnwritable, What: "write --cidfile " + c.file.Name(), Err: err}
	}
	c.kept = true
	return nil
}

// drop has the file removed after all: the task did not start.
func (c *cidFile) drop() {
	if c != nil {
		c.kept = false
	}
}

// close removes the file of a task that did not start.
func (c *cidFile) close() {
	if c == nil {
		return
	}
	_ = c.file.Close()
	if !c.kept {
		_ = os.Remove(c.file.Name()) // made by openCID
	}
}
