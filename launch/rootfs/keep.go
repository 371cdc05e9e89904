package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// private makes the folder a mount of its own, from which nothing propagates.
func (k *Seals) private() error {
	dir, err := openDir(k.dir)
	if err != nil {
		return fmt.Errorf("keep seal: %w", err)
	}
	defer closeAll(dir)
	var st unix.Statx_t
	if err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil {
		return fmt.Errorf("keep seal: %w", os.NewSyscallError("statx", err))
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return nil
	}
	own, err := cloneTree(dir)
	if err != nil {
		return mountFailed("keep seal", err)
	}
	defer closeAll(own)
	if err := setAttr(own, attrs|unix.MOUNT_ATTR_NOEXEC, nil); err != nil {
		return mountFailed("keep seal", err)
	}
	if err := Place(own, k.dir); err != nil {
		return err
	}
	// What is attached to a shared mount becomes shared: say it again.
	return setAttr(own, 0, nil)
}

// Kept is one kept seal, as List shows it.
type Kept struct {
	Key    string
	Tree   digest.Digest
	Image  digest.Digest
	Size   int64     // bytes
	Hashed time.Time // last full hash
	Used   time.Time // last use, the making included
}

// List is what is kept, the least recently used first. What has no readable record
// is listed by its key alone.
func (k *Seals) List() ([]Kept, error) {
	names, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, fmt.Errorf("list seals: %w", err)
	}
	var out []Kept
	for _, n := range names {
		if !keyForm.MatchString(n.Name()) {
			continue
		}
		e := Kept{Key: n.Name()}
		if r, err := readRecord(k.at(n.Name(), "record")); err == nil {
			e.Tree, e.Image, e.Size, e.Hashed = r.Tree, r.Image, r.Size, r.Hashed
		}
		if info, err := os.Lstat(k.at(n.Name(), "record")); err == nil {
			e.Used = info.ModTime()
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b Kept) int { return cmp.Or(a.Used.Compare(b.Used), cmp.Compare(a.Key, b.Key)) })
	return out, nil
}

// room takes seals away until size more bytes fit.
func (k *Seals) room(size int64) error {
	kept, err := k.List()
	if err != nil {
		return err
	}
	for _, e := range kept {
		size += e.Size
	}
	for _, e := range kept {
		if size <= k.cap {
			break
		}
		if err := k.remove(e.Key); err != nil {
			return err
		}
		size -= e.Size
	}
	return nil
}

// remove unmounts and forgets one seal. Tasks that run on clones of it go on.
func (k *Seals) remove(key string) error {
	root := k.at(key, "root")
	for { // whatever was mounted on top of it, too
		err := unix.Unmount(root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return fmt.Errorf("remove seal: %w", &os.PathError{Op: "umount", Path: root, Err: err})
		}
	}
	names, err := os.ReadDir(k.at(key))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, n := range names {
		err = errors.Join(err, os.Remove(k.at(key, n.Name())))
	}
	if err = errors.Join(err, os.Remove(k.at(key))); err != nil {
		return fmt.Errorf("remove seal: %w", err)
	}
	return nil
}

// Prune takes every kept seal away.
func (k *Seals) Prune() error {
	return k.change(func() error {
		kept, err := k.List()
		if err != nil {
			return err
		}
		for _, e := range kept {
			if err := k.remove(e.Key); err != nil {
				return err
			}
		}
		err = unix.Unmount(k.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("remove seals: %w", &os.PathError{Op: "umount", Path: k.dir, Err: err})
		}
		return nil
	})
}
