//go:build linux

package main

import (
	"errors"
	"os"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// lay begins to lay the ground of one task, beside verification. What it returns
// waits for the end of it. Where owners cannot be mapped the task's user is the
// caller, so there the ground has to wait for the user. It is given back when the
// run is over.
func (r *runner) lay(d dirs, k *keeper.Keeper) func(uid, gid uint32) (launch.Ground, error) {
	if !r.host.Initial {
		return func(uid, gid uint32) (launch.Ground, error) {
			g, err := launch.Lay(rootfs.CallerIDs(uid, gid), k)
			r.later(g.Close)
			return g, err
		}
	}
	var g launch.Ground
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		var covered []rootfs.Range
		if covered, err = subordinates(); err != nil {
			return
		}
		var ids *rootfs.IDs
		if ids, err = rootfs.TakeIDs(d.ids(), rootfs.DefaultIDs(), covered); err == nil {
			g, err = launch.Lay(ids, k)
		}
	}()
	r.later(func() {
		<-done
		g.Close()
	})
	return func(uint32, uint32) (launch.Ground, error) {
		<-done
		return g, err
	}
}

// subordinates are the ids that this host gave to its users.
func subordinates() ([]rootfs.Range, error) {
	var covered []rootfs.Range
	for _, name := range []string{"/etc/subuid", "/etc/subgid"} {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &reason.Error{Code: reason.FileUnreadable, What: "read " + name, Err: err}
		}
		ranges, err := rootfs.SubIDs(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		covered = append(covered, ranges...)
	}
	return covered, nil
}
