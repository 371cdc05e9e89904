package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Seal builds t into a seal of the given form and proves every path of the result
// against t. want is the Tree digest that the admission names: another Tree is
// tree-not-admitted. A host that cannot make this form is seal-unsupported; no other
// form is tried.
func Seal(ctx context.Context, form Form, t tree.Tree, want digest.Digest, src Source, lim Limits) (*Sealed, error) {
	if t.Zero() || t.Digest() != want {
		return nil, notAdmitted(t, want)
	}
	var s *Sealed
	var err error
	switch form {
	case InRAMFS:
		s, err = sealRAMFS(ctx, t, src, lim)
	default:
		err = &reason.Error{Code: reason.SealUnsupported, What: "seal root", Found: fmt.Sprintf("form %q", form)}
	}
	if err != nil {
		return nil, err
	}
	if err := s.Rehash(ctx, t); err != nil {
		closeAll(s.mount)
		return nil, err
	}
	return s, nil
}

func notAdmitted(t tree.Tree, want digest.Digest) error {
	return &reason.Error{Code: reason.TreeNotAdmitted, What: "seal root", Expected: string(want), Found: strconv.Quote(string(t.Digest()))}
}

// sealRAMFS follows the package comment, "The seal".
func sealRAMFS(ctx context.Context, t tree.Tree, src Source, lim Limits) (*Sealed, error) {
	ram, err := newFS("ramfs", map[string]string{"mode": "0700"}, nil, attrs|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, unsupported("seal root", err)
	}
	defer closeAll(ram)
	out, err := openAt(ram, "root.erofs", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, fmt.Errorf("seal root: %w", err)
	}
	size, err := Build(ctx, t, src, out, lim)
	closeAll(out)
	if err != nil {
		return nil, err
	}
	image, err := openAt(ram, "root.erofs", unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("seal root: %w", err)
	}
	defer closeAll(image)
	if err := freeze(ram); err != nil {
		return nil, err
	}
	sum, err := hashImage(ctx, image, size)
	if err != nil {
		return nil, err
	}
	mount, err := newFS("erofs", map[string]string{"source": fdPath(image)}, []string{"ro"}, attrs|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return nil, unsupported("mount sealed root", err)
	}
	return newSealed(mount, InRAMFS, t.Digest(), sum, size)
}

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// freeze makes the superblock read-only and tries whether it is.
func freeze(ram *os.File) error {
	pick, err := unix.Fspick(int(ram.Fd()), "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return unsupported("seal root", os.NewSyscallError("fspick", err))
	}
	defer func() { _ = unix.Close(pick) }()
	if err = unix.FsconfigSetFlag(pick, "ro"); err == nil {
		err = unix.FsconfigReconfigure(pick)
	}
	if err != nil {
		return unsupported("seal root", fmt.Errorf("make read-only: %w%s", err, told(pick)))
	}
	f, err := openAt(ram, "root.erofs", unix.O_RDWR)
	closeAll(f)
	if !errors.Is(err, unix.EROFS) {
		return &reason.Error{Code: reason.SealBroken, What: "seal root", Expected: "EROFS when the image is opened for writing", Found: fmt.Sprint(err)}
	}
	return nil
}

// hashImage is the digest of the whole image, which must have the size written.
func hashImage(ctx context.Context, image *os.File, size int64) (digest.Digest, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		m, err := image.ReadAt(buf, n)
		h.Write(buf[:m])
		n += int64(m)
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("hash sealed root: %w", err)
		}
	}
	if n != size {
		return "", &reason.Error{Code: reason.SealBroken, What: "hash sealed root", Expected: fmt.Sprintf("%d bytes", size), Found: fmt.Sprintf("%d bytes", n)}
	}
	return digest.NewDigest(digest.SHA256, h), nil
}
