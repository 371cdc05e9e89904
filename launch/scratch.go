package launch

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/plan"
)

// mountMemory mounts a tmpfs at a path of the thread's namespace.
func mountMemory(at string, size int64, mode, uid, gid uint32) error {
	options := "size=" + strconv.FormatInt(size, 10) + ",mode=" + strconv.FormatUint(uint64(mode), 8) +
		",uid=" + strconv.FormatUint(uint64(uid), 10) + ",gid=" + strconv.FormatUint(uint64(gid), 10)
	return unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options)
}

// scratches makes the task's writable memory, with what the image has there
// copied in from the verified mount.
func (b *builder) scratches(p plan.Plan) error {
	for i, s := range p.Scratches() {
		at := filepath.Join(b.dir, "scratch"+strconv.Itoa(i))
		if err := os.Mkdir(at, 0o711); err != nil {
			return refused("make scratch memory at "+s.Target, err)
		}
		if err := mountMemory(at, s.Size, s.Mode, b.ids.UID(s.UID), b.ids.GID(s.GID)); err != nil {
			return refused("make scratch memory at "+s.Target, err)
		}
		for _, rel := range s.Copy {
			below := strings.TrimPrefix("/"+rel, strings.TrimSuffix(s.Target, "/"))
			if err := b.copyUp(filepath.Join(b.at.Root, rel), filepath.Join(at, below)); err != nil {
				return refused("copy /"+rel+" of the image into scratch memory", err)
			}
		}
		b.at.Scratches = append(b.at.Scratches, at)
	}
	return nil
}

// copyUp copies one entry, owner, mode and time included. The source is on the
// verified, read-only mount, whose ids are already the task's; the target's
// parents were made just before, by us, in memory that nobody else can reach.
func (b *builder) copyUp(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := unix.Mkdir(to, 0o700); err != nil {
			return err
		}
	case unix.S_IFLNK:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(link, to); err != nil {
			return err
		}
	case unix.S_IFREG:
		if err := copyFile(from, to); err != nil {
			return err
		}
	}
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777&^(unix.S_ISUID|unix.S_ISGID)); err != nil {
			return err
		}
	}
	times := []unix.Timespec{st.Mtim, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW)
}

func copyFile(from, to string) error {
	src, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}
