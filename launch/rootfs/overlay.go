package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Point is a path in the root that a task's mounts go on: a directory, or an empty
// file.
type Point struct {
	Path string // as in a Tree: relative, clean
	Dir  bool
}

// Points makes what of points the Tree lacks, by mounting a read-only overlay over
// the root that is mounted at root: its upper part holds the missing points and the
// directories that lead there, with the Tree's metadata, and nothing else; there is
// no writable layer. When nothing is missing nothing is mounted, and stacked is false.
// ids are the task's, nil when root is not mapped. A point that
// the Tree has with another type, or behind anything but directories, is
// mountpoint-type. Call it in the task's mount namespace (PrivateMountNS).
func Points(t tree.Tree, root string, points []Point, ids *IDs) (stacked bool, err error) {
	add, err := missing(t, points)
	if err != nil || len(add) == 0 {
		return false, err
	}
	skeleton, err := newFS("tmpfs", map[string]string{"mode": "0755", "size": "4m", "nr_inodes": "16384"}, nil, attrs|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return false, unsupported("make mount points", err)
	}
	defer closeAll(skeleton)
	if err := grow(t, skeleton, add, ids); err != nil {
		return false, fmt.Errorf("make mount points: %w", err)
	}
	// The overlay wants both of its parts attached; the upper one only while it is made.
	stage, err := os.MkdirTemp(filepath.Dir(root), ".points-")
	if err != nil {
		return false, fmt.Errorf("make mount points: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(stage)) }()
	if err := Place(skeleton, stage); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.NewSyscallError("umount", unix.Unmount(stage, unix.MNT_DETACH))) }()
	over, err := overlay(stage, root)
	if err != nil {
		return false, mountFailed("make mount points", err)
	}
	defer closeAll(over)
	return true, Place(over, root)
}

// overlay is a detached read-only overlay of two lower directories. No attribute in
// either may redirect it: the kernel's default differs from host to host.
func overlay(upper, lower string) (*os.File, error) {
	esc := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	return newFS("overlay", map[string]string{"source": "ztlaunch", "lowerdir": esc.Replace(upper) + ":" + esc.Replace(lower),
		"redirect_dir": "nofollow", "metacopy": "off"}, []string{"ro"}, attrs|unix.MOUNT_ATTR_RDONLY)
}

// missing is the points that t lacks, after a look at the ones it has.
func missing(t tree.Tree, points []Point) ([]Point, error) {
	var add []Point
	for _, p := range points {
		refuse := func(at string, want tree.Type, have tree.Entry) error {
			return &reason.Error{Code: reason.MountpointType, What: fmt.Sprintf("mount on /%s", p.Path),
				Expected: fmt.Sprintf("/%s as a %s", at, want), Found: "a " + have.Type.String()}
		}
		for i := range len(p.Path) {
			if p.Path[i] != '/' {
				continue
			}
			if e, ok := t.Lookup(p.Path[:i]); ok && e.Type != tree.Dir {
				return nil, refuse(p.Path[:i], tree.Dir, e)
			}
		}
		want := tree.File
		if p.Dir {
			want = tree.Dir
		}
		switch e, ok := t.Lookup(p.Path); {
		case !ok:
			add = append(add, p)
		case e.Type != want:
			return nil, refuse(p.Path, want, e)
		}
	}
	return add, nil
}

// grow makes the points in the skeleton. A directory that the Tree has too gets the
// Tree's metadata, because the overlay shows the upper one's.
func grow(t tree.Tree, skeleton *os.File, add []Point, ids *IDs) error {
	r, err := os.OpenRoot(fdPath(skeleton))
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	made := map[string]bool{}
	var dirs []string
	need := func(dir string) error {
		var err error
		if dir != "." && !made[dir] {
			err = r.Mkdir(dir, 0o755)
		}
		if !made[dir] {
			dirs = append(dirs, dir)
		}
		made[dir] = true
		return err
	}
	if err := need("."); err != nil {
		return err
	}
	for _, p := range add {
		for i := range len(p.Path) {
			if p.Path[i] == '/' {
				if err := need(p.Path[:i]); err != nil {
					return err
				}
			}
		}
		if p.Dir {
			if err := need(p.Path); err != nil {
				return err
			}
			continue
		}
		f, err := r.OpenFile(p.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		closeAll(f)
		if err := r.Lchown(p.Path, int(ids.UID(0)), int(ids.GID(0))); err != nil {
			return err
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- { // children first: making them changes a directory's time
		e, ok := t.Lookup(dirs[i])
		if !ok {
			e = tree.Entry{Path: dirs[i], Type: tree.Dir, Mode: 0o755}
		}
		d, err := r.Open(dirs[i])
		if err != nil {
			return err
		}
		err = dress(int(d.Fd()), e, ids)
		closeAll(d)
		if err != nil {
			return fmt.Errorf("%q: %w", dirs[i], err)
		}
	}
	return nil
}
