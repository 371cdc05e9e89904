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
	var image *os.File
	var err error
	switch form {
	case InRAMFS:
		s, image, err = sealRAMFS(ctx, t, src, lim)
	case InLoop:
		s, image, err = sealLoop(ctx, t, src, lim)
	case Extracted:
		s, err = sealFiles(ctx, t, src, lim, nil)
	default:
		err = &reason.Error{Code: reason.SealUnsupported, What: "seal root", Found: fmt.Sprintf("form %q", form)}
	}
	if err != nil {
		return nil, err
	}
	defer closeAll(image)
	if err := s.first(ctx, image, t); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// first reads everything that was sealed for the first time: the image, if there is
// one, and through the mount what it holds.
func (s *Sealed) first(ctx context.Context, image *os.File, t tree.Tree) error {
	done := make(chan error, 1)
	go func() {
		var err error
		if image != nil {
			s.image, err = hashImage(ctx, image, s.size)
		}
		done <- err
	}()
	return errors.Join(s.Rehash(ctx, t), <-done)
}

func notAdmitted(t tree.Tree, want digest.Digest) error {
	return &reason.Error{Code: reason.TreeNotAdmitted, What: "seal root", Expected: string(want), Found: strconv.Quote(string(t.Digest()))}
}

// sealRAMFS follows the package comment, "The seal". It also returns the image, open
// for reading.
func sealRAMFS(ctx context.Context, t tree.Tree, src Source, lim Limits) (_ *Sealed, image *os.File, err error) {
	ram, err := newFS("ramfs", map[string]string{"mode": "0700"}, nil, attrs|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, nil, unsupported("seal root", err)
	}
	defer closeAll(ram)
	out, err := openImage(ram, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, nil, fmt.Errorf("seal root: %w", err)
	}
	size, err := Build(ctx, t, src, out, lim)
	closeAll(out)
	if err != nil {
		return nil, nil, err
	}
	if image, err = openImage(ram, unix.O_RDONLY); err != nil {
		return nil, nil, fmt.Errorf("seal root: %w", err)
	}
	s, err := func() (*Sealed, error) {
		if err := freeze(ram); err != nil {
			return nil, err
		}
		if f, err := openImage(ram, unix.O_RDWR); !errors.Is(err, unix.EROFS) {
			closeAll(f)
			return nil, &reason.Error{Code: reason.SealBroken, What: "seal root", Expected: "EROFS when the image is opened for writing", Found: fmt.Sprint(err)}
		}
		mount, err := newFS("erofs", map[string]string{"source": fdPath(image)}, []string{"ro"}, attrs|unix.MOUNT_ATTR_RDONLY)
		if err != nil {
			return nil, unsupported("mount sealed root", err)
		}
		return newSealed(mount, InRAMFS, t.Digest(), size)
	}()
	if err != nil {
		closeAll(image)
		return nil, nil, err
	}
	return s, image, nil
}

const imageName = "root.erofs"

// openImage opens the image in the ramfs.
func openImage(ram *os.File, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(ram.Fd()), imageName, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: imageName, Err: err}
	}
	return os.NewFile(uintptr(fd), imageName), nil
}

// freeze makes a superblock read-only, which fails while somebody can write to it.
func freeze(mount *os.File) error {
	pick, err := unix.Fspick(int(mount.Fd()), "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
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
