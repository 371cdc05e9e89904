package launch

import (
	"context"
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/monitor"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// watched is a verified tree in the task: its root, or a model.
type watched struct {
	at     string // in the task
	sealed *rootfs.Sealed
	tree   tree.Tree
	hidden map[string]bool // unless it is sealed: paths that other mounts of the task cover
}

// survey lists what to look at, and opens the task's root as the task sees it.
// It needs the task's init, in its root and not yet started.
func (r *run) survey() error {
	root, err := os.OpenFile("/proc/"+strconv.Itoa(r.init.PID)+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return refused("open the task's root", err)
	}
	r.later(func() { root.Close() })
	r.root = root
	r.watched = []watched{{at: "/", sealed: r.parts.Root, tree: r.parts.Tree}}
	for _, m := range r.plan.Models() {
		r.watched = append(r.watched, watched{at: m.Target, sealed: r.parts.Models[m.Name], tree: r.parts.Watch.Models[m.Name]})
	}
	mounts := map[string]bool{}
	for _, m := range r.plan.Spec(r.at).Mounts {
		mounts[path.Clean(m.Destination)] = true
	}
	for i := range r.watched {
		w := &r.watched[i]
		if w.sealed.Form() == rootfs.InRAMFS {
			continue
		}
		w.hidden = map[string]bool{}
		for e := range w.tree.Entries() {
			if covered(path.Join(w.at, e.Path), w.at, mounts) {
				w.hidden[e.Path] = true
			}
		}
	}
	return nil
}

// covered says whether one of the mounts at or above p, but below root, hides what
// the tree that begins at root has there.
func covered(p, root string, mounts map[string]bool) bool {
	for ; p != root && p != "/"; p = path.Dir(p) {
		if mounts[p] {
			return true
		}
	}
	return false
}

// look checks every tree once: before the start, and on the clock. A sealed root
// cannot change while its mount is the one that was hashed, so there the mount is
// proved. Every other form is hashed in full besides: what the task sees, within
// the task's own root, where the kernel may still show a file that is gone; and
// through the launcher's own mount what it will see, with what other mounts of
// the task hide, and whether anything is there that nobody verified.
func (r *run) look(ctx context.Context) error {
	if r.root == nil {
		if err := r.survey(); err != nil {
			return err
		}
	}
	for _, w := range r.watched {
		drift, err := w.check(ctx, r.root)
		if err != nil {
			return err
		}
		// The mounts of a task that ends vanish under a sweep.
		if len(drift) > 0 && r.lives() {
			d := drift[0]
			return &drifted{drift, &reason.Error{Code: d.Code, What: "check " + d.Path, Expected: d.Expected, Found: d.Found}}
		}
	}
	return nil
}

// check looks at one tree. Files come before the mount that they are on.
func (w watched) check(ctx context.Context, root *os.File) ([]monitor.Drift, error) {
	var mount []monitor.Drift
	if err := w.sealed.Prove(); err != nil {
		e, ok := reason.Of(err)
		if !ok {
			return nil, err
		}
		mount = append(mount, monitor.Drift{Path: w.at, Code: e.Code, Expected: e.Expected, Found: e.Found})
	}
	if w.sealed.Form() == rootfs.InRAMFS {
		return mount, nil
	}
	all, err := monitor.Sweep(ctx, monitor.Target{Root: root, Prefix: strings.TrimPrefix(w.at, "/"), Tree: w.tree, Skip: w.hidden})
	if err != nil {
		return nil, err
	}
	own := monitor.Target{Root: w.sealed.Root(), Tree: w.tree}
	below, err := monitor.Sweep(ctx, own)
	if err != nil {
		return nil, err
	}
	extra, err := monitor.Extra(ctx, own)
	for _, d := range append(below, extra...) {
		d.Path = path.Join(w.at, d.Path)
		if !slices.Contains(all, d) { // most are seen from both sides
			all = append(all, d)
		}
	}
	return append(all, mount...), err
}

// lives says whether the task's init still has its root.
func (r *run) lives() bool {
	_, err := os.Readlink("/proc/" + strconv.Itoa(r.init.PID) + "/root")
	return !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH) // what cannot be read lives
}
