//go:build linux

package main

import (
	"os"
	"path/filepath"

	"github.com/ztlaunch/ztlaunch/launch/host"
	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/program"
	"github.com/ztlaunch/ztlaunch/launch/runc"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// programs are the other programs of this installation that a launch executes,
// proved.
type programs struct {
	runtime runc.Runtime
	keeper  program.Program
}

// programs proves the runtime and the keeper that this build names.
func (d dirs) programs(h host.Host) (p programs, err error) {
	keep := func(name string) string {
		if !h.Initial {
			return "" // what is mounted in this namespace nobody finds again
		}
		return filepath.Join(d.kept(), name)
	}
	exe, err := os.Executable()
	if err != nil {
		return p, &reason.Error{Code: reason.InternalFault, What: "find this program", Err: err}
	}
	if p.runtime, err = runc.Find(keep("runtime"), runc.Pin(), program.Beside(exe, runc.File)...); err != nil {
		return p, err
	}
	if p.keeper, err = program.Find(keep("keeper"), keeper.Pin(), program.Beside(exe, keeper.Name)...); err != nil {
		p.runtime.Close()
	}
	return p, err
}

func (p programs) close() {
	p.runtime.Close()
	p.keeper.Close()
}

// drop removes what is kept of them.
func (d dirs) drop() error {
	for _, name := range []string{"runtime", "keeper"} {
		if err := program.Drop(filepath.Join(d.kept(), name)); err != nil {
			return err
		}
	}
	return nil
}
