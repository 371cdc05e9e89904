package monitor

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// maxDepth is how deep Extra looks; nothing that a Tree names lies deeper.
const maxDepth = 2048

// Extra lists what is there and in no Tree: files, symlinks, devices and all
// else, each directory as one. It looks at names and types and reads no file. What
// is mounted below the target is not entered; a mount point in no Tree is listed.
func Extra(ctx context.Context, t Target) ([]Drift, error) {
	if t.Root == nil || t.Tree.Zero() {
		return nil, errors.New("look for extra files: no root or no tree")
	}
	base, err := openat(int(t.Root.Fd()), cmp.Or(t.Prefix, "."), unix.O_RDONLY|unix.O_DIRECTORY|quiet, inside)
	if err != nil {
		return []Drift{wrong(t.Prefix, err)}, ctx.Err()
	}
	defer base.Close()
	x := extra{ctx: ctx, target: t, base: int(base.Fd())}
	if err := x.directory("", 0); err != nil {
		return nil, err
	}
	return x.drifts, nil
}

type extra struct {
	ctx    context.Context
	target Target
	base   int
	drifts []Drift
}

func (x *extra) add(d Drift, at string) {
	d.Path = path.Join("/", x.target.Prefix, at)
	x.drifts = append(x.drifts, d)
}

func (x *extra) directory(at string, depth int) error {
	d, err := openat(x.base, cmp.Or(at, "."), unix.O_RDONLY|unix.O_DIRECTORY|quiet, within)
	if errors.Is(err, unix.EXDEV) && at != "" {
		return nil // mounted there: Sweep judges whether it should be
	}
	var names []string
	if err == nil {
		names, err = d.Readdirnames(-1)
		d.Close()
	}
	if err != nil && !errors.Is(err, io.EOF) || depth > maxDepth {
		x.add(wrong(at, cmp.Or(err, error(unix.ENAMETOOLONG))), at)
		return x.ctx.Err()
	}
	slices.Sort(names)
	for _, name := range names {
		if x.ctx.Err() != nil || len(x.drifts) >= maxDrifts {
			return x.ctx.Err()
		}
		p := path.Join(at, name)
		if x.target.Skip[p] {
			continue
		}
		e, ok := x.target.Tree.Lookup(p)
		if !ok {
			x.add(Drift{Code: reason.DriftExtra, Expected: "nothing", Found: x.kind(p)}, p)
			continue
		}
		if kindOf(e.Type) == unix.S_IFDIR {
			if err := x.directory(p, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *extra) kind(p string) string {
	f, err := openat(x.base, p, looks, inside)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err.Error()
	}
	return kindName(st.Mode & unix.S_IFMT)
}
