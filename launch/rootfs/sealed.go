package rootfs

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Sealed is a root that no file on the host decides about any more, mounted but not
// attached to any path. Only Seal and Seals.Get make one; the zero Sealed is
// refused.
type Sealed struct {
	mount  *os.File
	id     uint64 // unique mount id, 0 where the kernel has none
	form   Form
	tree   digest.Digest
	image  digest.Digest
	size   int64
	ids    *IDs      // of an Extracted one for a single task: whose ids its owners are
	back   backing   // InLoop: the file behind the loop device
	hashed time.Time // last full hash; zero when it was Seal's own, just now
}

func newSealed(mount *os.File, form Form, t digest.Digest, size int64) (*Sealed, error) {
	id, err := uniqueID(mount)
	if err != nil && form == InRAMFS { // whose kernels have the id; older ones do without
		closeAll(mount)
		return nil, unsupported("mount sealed root", err)
	}
	s := &Sealed{mount: mount, id: id, form: form, tree: t, size: size}
	if form == InLoop {
		if s.back, err = backingOf(mount); err != nil {
			closeAll(mount)
			return nil, unsupported("mount sealed root", err)
		}
	}
	return s, nil
}

// Form is how the root is held.
func (s *Sealed) Form() Form { return s.form }

// Tree is the digest of the Tree that was sealed.
func (s *Sealed) Tree() digest.Digest { return s.tree }

// Image is the sha256 of the image, "" where there is none.
func (s *Sealed) Image() digest.Digest { return s.image }

// Size is the length of the image in bytes.
func (s *Sealed) Size() int64 { return s.size }

// Hashed is when every byte was last read and held against the Tree; zero for a
// fresh seal, which was at that moment.
func (s *Sealed) Hashed() time.Time { return s.hashed }

// Root is the sealed mount's root directory, for openat2 with RESOLVE_IN_ROOT. It
// stays open until Close.
func (s *Sealed) Root() *os.File { return s.mount }

// Open implements Source: a regular file of the Tree as the sealed mount has it, and
// nothing that is reached by a symlink.
func (s *Sealed) Open(e tree.Entry) (io.ReadCloser, error) {
	return beneath(s.mount, e.Path, unix.O_RDONLY|unix.O_NONBLOCK)
}

// Close lets go of the seal; clones that are mounted stay.
func (s *Sealed) Close() error {
	if s == nil || s.mount == nil {
		return nil
	}
	err := s.mount.Close()
	s.mount = nil
	return err
}

func (s *Sealed) broken(what, want, got string) error {
	return &reason.Error{Code: reason.SealBroken, What: what, Expected: want, Found: got}
}

// Prove checks, before each start, that this is still the mount that was sealed: its
// id, its file system and that it is read-only. No byte is read.
func (s *Sealed) Prove() error {
	const what = "prove sealed root"
	if s == nil || s.mount == nil {
		return s.broken(what, "a seal", "none")
	}
	magic := int64(unix.EROFS_SUPER_MAGIC_V1)
	if s.form == Extracted {
		magic = unix.TMPFS_MAGIC
	}
	if err := prove(s.mount, magic, s.id); err != nil {
		return err
	}
	if s.form == InLoop {
		if got, err := backingOf(s.mount); err != nil || got != s.back {
			return s.broken(what, fmt.Sprintf("loop device over %+v", s.back), fmt.Sprintf("%+v, %v", got, err))
		}
	}
	return nil
}

// prove checks any descriptor of the mount with the given superblock magic and unique
// id.
func prove(mount *os.File, magic int64, id uint64) error {
	refuse := func(want, got string) error {
		return &reason.Error{Code: reason.SealBroken, What: "prove sealed root", Expected: want, Found: got}
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(mount.Fd()), &st); err != nil {
		return refuse("a mount", err.Error())
	}
	if st.Type != magic {
		return refuse(fmt.Sprintf("superblock magic %#x", magic), fmt.Sprintf("%#x", st.Type))
	}
	if st.Flags&unix.ST_RDONLY == 0 || st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 {
		return refuse("ro,nosuid,nodev", fmt.Sprintf("mount flags %#x", st.Flags))
	}
	if id == 0 {
		return nil
	}
	if got, err := uniqueID(mount); err != nil || got != id {
		return refuse(fmt.Sprintf("mount %d", id), fmt.Sprintf("mount %d, %v", got, err))
	}
	return nil
}

// Mount is a detached copy of the root for one task: read-only, nosuid, nodev, its
// owners mapped by userns when there is one and they are not the task's already. Place
// attaches it.
func (s *Sealed) Mount(userns *os.File) (*os.File, error) {
	if err := s.Prove(); err != nil {
		return nil, err
	}
	clone, err := cloneTree(s.mount)
	if err != nil {
		return nil, mountFailed("clone sealed root", err)
	}
	if s.ids != nil {
		userns = nil
	}
	if err := setAttr(clone, attrs|unix.MOUNT_ATTR_RDONLY, userns); err != nil {
		closeAll(clone)
		return nil, mountFailed("map owners of sealed root", err)
	}
	return clone, nil
}

func mountFailed(what string, err error) error {
	return &reason.Error{Code: reason.MountFailed, What: what, Found: err.Error(), Err: err}
}
