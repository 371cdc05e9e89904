//go:build linux

package main

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// merge adds what the file asks for to a task from flags. Flags win.
func (f taskFile) merge(t plan.Task) (plan.Task, error) {
	t.Typed = false
	if len(t.Command) == 0 {
		t.Command = f.command
	}
	t.User = cmp.Or(t.User, f.user)
	t.WorkDir = cmp.Or(t.WorkDir, f.workDir)
	t.Env = slices.Concat(f.env, t.Env)
	t.Caps = slices.Concat(f.caps, t.Caps)
	t.Limits.Memory = cmp.Or(t.Limits.Memory, f.limit.Memory)
	t.Limits.CPUs = cmp.Or(t.Limits.CPUs, f.limit.CPUs)
	t.Limits.Pids = cmp.Or(t.Limits.Pids, f.limit.Pids)
	t.Limits.Time = cmp.Or(t.Limits.Time, f.limit.Time)
	for _, m := range f.mounts {
		mount, err := f.mount(m)
		if err != nil {
			return plan.Task{}, err
		}
		t.Mounts = append(t.Mounts, mount)
	}
	return t, nil
}

// mount opens one mount's source. A source outside the file's folder is refused:
// only the operator, by typing it, may lend other folders.
func (f taskFile) mount(m taskMount) (plan.Mount, error) {
	mount := plan.Mount{Class: m.class, Target: m.target, Size: m.size}
	if m.class == plan.Scratch {
		return mount, nil
	}
	source := m.source
	if !filepath.IsAbs(source) {
		source = filepath.Join(f.folder, source)
	}
	var err error
	if mount.Source, err = openSource(source); err != nil {
		return plan.Mount{}, err
	}
	folder, err := filepath.Abs(f.folder)
	if err == nil {
		folder, err = filepath.EvalSymlinks(folder)
	}
	if err != nil || !strings.HasPrefix(mount.Source.Real, folder+"/") {
		return plan.Mount{}, &reason.Error{Code: reason.MountRefused, What: "mount " + m.source + " at " + m.target,
			Expected: "a folder below the task file's own", Found: mount.Source.Real,
			Next: "-v " + mount.Source.Real + ":" + m.target}
	}
	return mount, nil
}
