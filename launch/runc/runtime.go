// Package runc is the only place that executes the OCI runtime. It speaks the
// runtime's command line (OCI runtime-spec "operations": create, start, state,
// kill, delete; exec as runc defines it) in types.
//
// The pinned runtime is a program of ztlaunch's own: package program says how
// it is proved and why it cannot change afterwards. An alternative runtime
// (--runtime) is not pinned: it is held to the table of version floors and to
// its own `features`, and its digest is only told.
//
// For the pinned runtime the package uses what its bytes fix and the command
// line does not promise: the exec fifo in the state folder starts the task
// without one more process (a start is most of a launch's time). `features` and
// `--version` are functions of those bytes, so they are tested when the runtime
// is built, not when it is used.
//
// The package does not check the container's configuration, does not look into
// the runtime's state folder otherwise, and cleans nothing up: after a create
// that failed or was killed, only the names that the caller chose are to be
// trusted.
package runc

import (
	"errors"
	"os"

	"github.com/ztlaunch/ztlaunch/launch/program"
)

// pin is the sha256 of the runtime, in hex, set by the linker
// (-X .../launch/runc.pin=). Empty means that this build pins none.
var pin string

// Version is the runtime that the pin is of.
const Version = "1.5.2"

// File is the name of the pinned runtime's file.
const File = "ztlaunch-runc"

// Pin is the sha256, in hex, of the runtime that this build accepts; "" when
// it was built without one.
func Pin() string { return pin }

// Runtime is a runtime that may be executed. The zero value is refused by every
// operation.
type Runtime struct {
	program.Program
	version string
	pinned  bool
}

// Version is the runtime's version, "1.5.2".
func (r Runtime) Version() string { return r.version }

// Pinned reports whether the digest is the one compiled in.
func (r Runtime) Pinned() bool { return r.pinned }

// Find proves the pinned runtime, as program.Find does.
func Find(keep, pin string, candidates ...string) (Runtime, error) {
	p, err := program.Find(keep, pin, candidates...)
	if err != nil {
		return Runtime{}, err
	}
	return Runtime{p, Version, true}, nil
}

func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
