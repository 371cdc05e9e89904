package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sealName is the name of a program inside its ramfs.
const sealName = "program"

// errBusy says that another launcher is sealing, or that this process is in
// another mount namespace than the seal.
var errBusy = errors.New("sealed by somebody else")

// makeMemfd seals a copy of src in memory that only this process and its
// children can reach.
func makeMemfd(pin string, src *os.File) (*os.File, error) {
	const what = "seal a program"
	fd, err := unix.MemfdCreate(sealName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 there is no MFD_EXEC
		fd, err = unix.MemfdCreate(sealName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: memfd_create: %w", what, err)
	}
	f := os.NewFile(uintptr(fd), sealName)
	err = copyPinned(f, src, pin)
	if err == nil {
		err = f.Chmod(0o500)
	}
	if err == nil {
		// Exactly the seals that runc asks for before it executes its own
		// binary as a container's init without another copy.
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openKept opens the program in the seal of pin, if the mount there is the one
// that was recorded.
func openKept(keep, pin string) (*os.File, error) {
	if err := private(keep); err != nil {
		return nil, err
	}
	at := filepath.Join(keep, pin)
	dir, err := os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	live, err := facts(int(dir.Fd()), pin)
	if err != nil {
		return nil, err
	}
	recorded, err := os.ReadFile(at + ".seal")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(recorded, live) {
		return nil, errors.New("the seal is not the recorded one")
	}
	fd, err := unix.Openat(int(dir.Fd()), sealName, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(at, sealName)), nil
}

// makeKept seals a copy of src at keep/pin and opens it. A refusal (a reason)
// means that src is not the pinned program; any other error means that nothing
// can be kept here and now.
func makeKept(keep, pin string, src *os.File) (*os.File, error) {
	if err := os.MkdirAll(keep, 0o700); err != nil {
		return nil, err
	}
	if err := private(keep); err != nil {
		return nil, err
	}
	lock, err := os.Open(keep)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errBusy
	}
	if f, err := openKept(keep, pin); err == nil { // while we came here
		return f, nil
	}
	if err := dropKept(keep); err != nil {
		return nil, err
	}
	mount, err := sealedRamfs(pin, src)
	if err != nil {
		return nil, err
	}
	defer mount.Close()
	at := filepath.Join(keep, pin)
	if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("move_mount %s: %w", at, err)
	}
	live, err := facts(int(mount.Fd()), pin)
	if err != nil {
		return nil, errors.Join(err, unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	if err := os.WriteFile(at+".seal", live, 0o600); err != nil {
		return nil, errors.Join(err, unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	return openKept(keep, pin)
}

// Drop removes the seals under the folder keep, to free their memory. Programs
// that run from one go on. A seal of another mount namespace, or one that is
// being made, is an error.
func Drop(keep string) error {
	lock, err := os.Open(keep)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("drop a kept program: %w", errBusy)
	}
	if err := dropKept(keep); err != nil {
		return fmt.Errorf("drop a kept program: %w", err)
	}
	return nil
}

// dropKept removes seals that this mount namespace holds: older pins, and a
// mount whose record was lost. A record made in another mount namespace of this
// boot is somebody else's.
func dropKept(keep string) error {
	entries, err := os.ReadDir(keep)
	if err != nil {
		return err
	}
	ours, err := whereabouts()
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := filepath.Join(keep, e.Name())
		if !e.IsDir() {
			continue
		}
		b, err := os.ReadFile(at + ".seal")
		theirs := strings.Fields(string(b))
		if err == nil && len(theirs) == 4 && theirs[0] == ours[0] && theirs[1] != ours[1] {
			return errBusy
		}
		// EINVAL: not a mount point, as after a boot.
		if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
		if err := errors.Join(os.Remove(at), remove(at+".seal")); err != nil {
			return err
		}
	}
	return nil
}

// sealedRamfs makes a detached ramfs, copies src into it, makes its superblock
// read-only and hashes what it then holds.
func sealedRamfs(pin string, src *os.File) (*os.File, error) {
	fs, err := unix.Fsopen("ramfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen ramfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("fsconfig ramfs: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, fmt.Errorf("fsmount ramfs: %w", err)
	}
	mount := os.NewFile(uintptr(fd), "ramfs")
	if err := fillRamfs(mount, pin, src); err != nil {
		mount.Close()
		return nil, err
	}
	return mount, nil
}

func fillRamfs(mount *os.File, pin string, src *os.File) error {
	dir := int(mount.Fd())
	fd, err := unix.Openat(dir, sealName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o500)
	if err != nil {
		return fmt.Errorf("create in ramfs: %w", err)
	}
	f := os.NewFile(uintptr(fd), sealName)
	err = copyPinned(f, src, pin)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	again, err := unix.Fspick(dir, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("fspick ramfs: %w", err)
	}
	defer unix.Close(again)
	if err := unix.FsconfigSetFlag(again, "ro"); err != nil {
		return fmt.Errorf("fsconfig ramfs ro: %w", err)
	}
	if err := unix.FsconfigReconfigure(again); err != nil {
		return fmt.Errorf("seal ramfs: %w", err)
	}
	fd, err = unix.Openat(dir, sealName, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open in ramfs: %w", err)
	}
	sealed := os.NewFile(uintptr(fd), src.Name())
	defer sealed.Close()
	return copyPinned(io.Discard, sealed, pin)
}

// private refuses a folder that others could have written.
func private(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a private folder", dir)
	}
	return nil
}

// facts is the record of the mount that dirfd is the root of:
// "BOOT-ID MOUNT-NAMESPACE MOUNT-ID SHA256\n". It refuses a mount that is not a
// read-only ramfs.
func facts(dirfd int, pin string) ([]byte, error) {
	var st unix.Statx_t
	if err := unix.Statx(dirfd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return nil, err
	}
	if st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return nil, errors.New("not a mount with a unique id")
	}
	sb, err := statmount(st.Mnt_id)
	if err != nil {
		return nil, err
	}
	if sb.magic != unix.RAMFS_MAGIC || sb.flags&unix.MS_RDONLY == 0 {
		return nil, errors.New("not a read-only ramfs")
	}
	where, err := whereabouts()
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s %d %s\n", where[0], where[1], st.Mnt_id, sha(pin)), nil
}

// whereabouts are the boot id and the calling thread's mount namespace.
func whereabouts() ([2]string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return [2]string{}, err
	}
	ns, err := os.Readlink("/proc/thread-self/ns/mnt")
	return [2]string{strings.TrimSpace(string(boot)), ns}, err
}

// superblock is what statmount(2) says of a mount's superblock.
type superblock struct {
	magic uint64
	flags uint32 // MS_*
}

// statmount asks statmount(2), Linux 6.8, for STATMOUNT_SB_BASIC.
func statmount(id uint64) (superblock, error) {
	const sysStatmount, sbBasic = 457, 1
	req := struct {
		size, spare uint32
		id, param   uint64
	}{size: 24, id: id, param: sbBasic}
	var st struct {
		size, opts   uint32
		mask         uint64
		major, minor uint32
		magic        uint64
		flags, typ   uint32
		_            [512 - 40]byte
	}
	_, _, errno := unix.Syscall6(sysStatmount, uintptr(unsafe.Pointer(&req)), uintptr(unsafe.Pointer(&st)), unsafe.Sizeof(st), 0, 0, 0)
	if errno != 0 {
		return superblock{}, fmt.Errorf("statmount: %w", errno)
	}
	if st.mask&sbBasic == 0 {
		return superblock{}, errors.New("statmount: no superblock told")
	}
	return superblock{st.magic, st.flags}, nil
}

func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
