package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"
)

// mounted makes a detached mount of a file system.
func mounted(fs, source string, options ...[2]string) (*os.File, error) {
	ctx, err := unix.Fsopen(fs, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen %s: %w", fs, err)
	}
	defer unix.Close(ctx)
	if source != "" {
		options = append([][2]string{{"source", source}}, options...)
	}
	for _, o := range options {
		if err := unix.FsconfigSetString(ctx, o[0], o[1]); err != nil {
			return nil, fmt.Errorf("fsconfig %s %s: %w", fs, o[0], err)
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("fsconfig %s: %w", fs, err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("fsmount %s: %w", fs, err)
	}
	return os.NewFile(uintptr(fd), fs), nil
}

// sealedImage is a small EROFS image in a detached, read-only ramfs.
func sealedImage() (*os.File, error) {
	mount, err := mounted("ramfs", "")
	if err != nil {
		return nil, err
	}
	defer mount.Close()
	dir := int(mount.Fd())
	fd, err := unix.Openat(dir, "image", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create in ramfs: %w", err)
	}
	image := os.NewFile(uintptr(fd), "image")
	err = writeImage(image)
	if err := errors.Join(err, image.Close()); err != nil {
		return nil, err
	}
	again, err := unix.Fspick(dir, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("fspick ramfs: %w", err)
	}
	defer unix.Close(again)
	if err := errors.Join(unix.FsconfigSetFlag(again, "ro"), unix.FsconfigReconfigure(again)); err != nil {
		return nil, fmt.Errorf("make ramfs read-only: %w", err)
	}
	if fd, err := unix.Openat(dir, "image", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		unix.Close(fd)
		return nil, errors.New("a read-only ramfs can be written")
	}
	fd, err = unix.Openat(dir, "image", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open in ramfs: %w", err)
	}
	return os.NewFile(uintptr(fd), "image"), nil
}

func writeImage(to *os.File) error {
	w := erofs.Create(to, erofs.WithBuildTime(0, 0))
	f, err := w.Create("/file")
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("probe"))
	return errors.Join(err, f.Close(), w.Close())
}

func ramfsSealed(string) (string, error) {
	image, err := sealedImage()
	if err != nil {
		return "", err
	}
	return "detached and read-only", image.Close()
}

// erofsMount mounts the sealed image file-backed, as a task's root is.
func erofsMount() (*os.File, error) {
	image, err := sealedImage()
	if err != nil {
		return nil, err
	}
	defer image.Close()
	return mounted("erofs", "/proc/self/fd/"+strconv.Itoa(int(image.Fd())))
}

func erofsSealed(string) (string, error) {
	mount, err := erofsMount()
	if err != nil {
		return "", err
	}
	defer mount.Close()
	fd, err := unix.Openat(int(mount.Fd()), "file", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open in the image: %w", err)
	}
	f := os.NewFile(uintptr(fd), "file")
	defer f.Close()
	var b [16]byte
	n, err := f.Read(b[:])
	if err != nil {
		return "", fmt.Errorf("read in the image: %w", err)
	}
	if string(b[:n]) != "probe" {
		return "", fmt.Errorf("the image holds %q", b[:n])
	}
	return "mounted from a sealed ramfs", nil
}

// idmap maps the ids of what a launch maps: the sealed root, and a tmpfs for
// folders.
func idmap(string) (string, error) {
	ns, err := newUserns()
	if err != nil {
		return "", err
	}
	defer ns.Close()
	for _, make := range []func() (*os.File, error){erofsMount, func() (*os.File, error) { return mounted("tmpfs", "") }} {
		mount, err := make()
		if err != nil {
			return "", err
		}
		err = unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{
			Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())})
		mount.Close()
		if err != nil {
			return "", fmt.Errorf("mount_setattr on %s: %w", mount.Name(), err)
		}
	}
	return "erofs and tmpfs", nil
}

func loop(string) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("ask for a free loop device: %w", err)
	}
	device := "/dev/loop" + strconv.Itoa(n)
	f, err := os.OpenFile(device, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	return device + " is free", f.Close()
}

// overlay is the read-only kind without an upper folder.
func overlay(dir string) (string, error) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.MkdirAll(a, 0o700), os.MkdirAll(b, 0o700)); err != nil {
		return "", err
	}
	mount, err := mounted("overlay", "", [2]string{"lowerdir", a + ":" + b})
	if err != nil {
		return "", err
	}
	return "read-only, two folders", mount.Close()
}

// sealProof asks for the unique id of a mount and what the kernel says of it.
func sealProof(dir string) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return "", fmt.Errorf("statx: %w", err)
	}
	if st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		return "", errors.New("mounts have no unique ids")
	}
	return "mounts have unique ids", nil
}

// openat2 resolves a path within a folder.
func openat2(dir string) (string, error) {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		return "", err
	}
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(int(root.Fd()), "out", &how)
	if err == nil {
		unix.Close(fd)
		return "", errors.New("openat2 leaves its root")
	}
	if !errors.Is(err, unix.ENOENT) {
		return "", fmt.Errorf("openat2: %w", err)
	}
	return "paths stay in their root", nil
}
