package rootfs

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attrs that every mount of ours carries.
const attrs = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// newFS makes a superblock and mounts it, detached.
func newFS(fstype string, options map[string]string, flags []string, mountAttrs int) (*os.File, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen "+fstype, err)
	}
	defer func() { _ = unix.Close(fs) }()
	for k, v := range options {
		if err := unix.FsconfigSetString(fs, k, v); err != nil {
			return nil, fmt.Errorf("fsconfig %s=%s: %w%s", k, v, err, told(fs))
		}
	}
	for _, k := range flags {
		if err := unix.FsconfigSetFlag(fs, k); err != nil {
			return nil, fmt.Errorf("fsconfig %s: %w%s", k, err, told(fs))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("create %s: %w%s", fstype, err, told(fs))
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, mountAttrs)
	if err != nil {
		return nil, os.NewSyscallError("fsmount "+fstype, err)
	}
	return os.NewFile(uintptr(mnt), fstype), nil
}

// told is what the kernel wrote into a file system context to explain itself.
func told(fs int) string {
	buf := make([]byte, 1024)
	n, err := unix.Read(fs, buf)
	if err != nil || n == 0 {
		return ""
	}
	return " (" + string(buf[:n]) + ")"
}

// cloneTree is a detached copy of one mount, without what is mounted below it.
func cloneTree(mount *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(int(mount.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, os.NewSyscallError("open_tree", err)
	}
	return os.NewFile(uintptr(fd), mount.Name()), nil
}

// setAttr adds attributes to a detached mount; userns, if any, maps its owners.
func setAttr(mount *os.File, set uint64, userns *os.File) error {
	a := unix.MountAttr{Attr_set: set, Propagation: unix.MS_PRIVATE}
	if userns != nil {
		a.Attr_set |= unix.MOUNT_ATTR_IDMAP
		a.Userns_fd = uint64(userns.Fd())
	}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH, &a))
}

// uniqueID is the mount's id, which is never used again before the next boot. Older
// kernels (before 6.8) have none.
func uniqueID(mount *os.File) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(int(mount.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID_UNIQUE, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		err = unix.ENOSYS
	}
	return st.Mnt_id, os.NewSyscallError("statx", err)
}

// mountState is what statmount(2) tells about a mount that is attached in the
// caller's mount namespace.
type mountState struct {
	magic   uint64
	sbFlags uint32
	attr    uint64
}

// statmount asks for the mount with the given unique id.
func statmount(id uint64) (mountState, error) {
	// struct mnt_id_req, version 0, and the head of struct statmount, include/uapi/linux/mount.h.
	req := struct {
		size, spare uint32
		id, param   uint64
	}{size: 24, id: id, param: 1 | 2} // STATMOUNT_SB_BASIC | STATMOUNT_MNT_BASIC
	var buf struct {
		size, options           uint32
		mask                    uint64
		devMajor, devMinor      uint32
		magic                   uint64
		sbFlags, fsType         uint32
		mntID, parent           uint64
		mntIDOld, parentOld     uint32
		attr, propagation, peer uint64
		master, from            uint64
		root, point             uint32
		_                       [512]byte
	}
	_, _, e := unix.Syscall6(unix.SYS_STATMOUNT, uintptr(unsafe.Pointer(&req)), uintptr(unsafe.Pointer(&buf)), unsafe.Sizeof(buf), 0, 0, 0)
	if e != 0 {
		return mountState{}, os.NewSyscallError("statmount", e)
	}
	if buf.mask&3 != 3 {
		return mountState{}, os.NewSyscallError("statmount", unix.ENODATA)
	}
	return mountState{buf.magic, buf.sbFlags, buf.attr}, nil
}
