package rootfs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Seals are the seals that are kept from one launch to the next, in a folder of the
// run folder (0700), which is a private mount so that nothing propagates from it:
//
//	KEY/root    where the sealed mount is attached
//	KEY/record  what was sealed, and the unique id of that mount
//	KEY.lock    who builds the seal
//	lock        who changes the folder
//
// A kept seal is used only when the mount that is found is the recorded one: the same
// boot, the same unique mount id, EROFS, both mount and superblock read-only, the
// Tree at hand, hashed recently enough. Otherwise it is taken away and made again.
// Kept seals live in the host's mount namespace: all methods are for threads that
// have not entered another.
type Seals struct {
	dir  string
	cap  int64
	form Form
}

// OpenSeals opens, or makes, the folder. limit is the most bytes that all kept images
// have together; 0 is DefaultSize of the host's memory.
func OpenSeals(dir string, limit int64) (*Seals, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open seals: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("open seals: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 || !info.IsDir() {
		return nil, &reason.Error{Code: reason.SealBroken, What: "open seals: " + dir, Expected: "a folder that is its user's alone (0700)", Found: info.Mode().String()}
	}
	if limit == 0 {
		var host unix.Sysinfo_t
		if err := unix.Sysinfo(&host); err != nil {
			return nil, fmt.Errorf("open seals: %w", os.NewSyscallError("sysinfo", err))
		}
		limit = DefaultSize(host.Totalram * uint64(host.Unit))
	}
	return &Seals{dir, limit, ""}, nil
}

// Key names a seal by what it was made from and for whom: the layers' diffIDs in
// order, and the policy, because seals are shared within one policy only.
func Key(layers []digest.Digest, policy digest.Digest) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "ztlaunch seal %s\n%s\n", Version, policy)
	for _, d := range layers {
		_, _ = fmt.Fprintln(h, d)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

var keyForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (k *Seals) at(key string, name ...string) string {
	return filepath.Join(append([]string{k.dir, key}, name...)...)
}

// Lock makes the caller the only builder of key until release. The second of two
// launchers finds the first one's seal.
func (k *Seals) Lock(key string) (release func() error, err error) {
	f, err := lockFile(k.at(key+".lock"), true)
	if err != nil {
		return nil, fmt.Errorf("lock seal: %w", err)
	}
	return func() error { return unlockFile(f, f.Name()) }, nil
}

// change runs f as the only one that changes the folder.
func (k *Seals) change(f func() error) error {
	l, err := lockFile(k.at("lock"), true)
	if err != nil {
		return fmt.Errorf("lock seals: %w", err)
	}
	return errors.Join(f(), unlockFile(l, l.Name()))
}

// Get is the kept seal of key when it is a good one of t. When it was not hashed
// within maxAge before now, or is of the form InLoop, every byte is read again first. Otherwise s is nil, why
// says in a few words what is wrong, and a seal that is not as recorded is gone.
func (k *Seals) Get(ctx context.Context, key string, t tree.Tree, maxAge time.Duration, now time.Time) (s *Sealed, why string, err error) {
	forget := func() error {
		if why == "absent" {
			return nil
		}
		return k.remove(key)
	}
	err = k.change(func() error {
		if s, why = k.get(key, t.Digest(), now); s != nil {
			return nil
		}
		return forget()
	})
	if err != nil || s == nil {
		return nil, why, err
	}
	if age := now.Sub(s.hashed); s.form == InRAMFS && age >= 0 && age < maxAge {
		return s, "", nil
	}
	if err := s.Rehash(ctx, t); err != nil {
		_ = s.Close()
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		why = err.Error()
		return nil, why, k.change(forget)
	}
	s.hashed = now.UTC()
	return s, "", k.change(func() error { return k.renew(key, s, now) })
}

// renew writes down that s, a clone of what is kept under key, was hashed.
func (k *Seals) renew(key string, s *Sealed, used time.Time) error {
	r, err := readRecord(k.at(key, "record"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // taken away in the meantime
	}
	if err != nil {
		return fmt.Errorf("keep seal: %w", err)
	}
	if r.Tree != s.tree || r.Image != s.image {
		return nil // made anew in the meantime
	}
	r.Hashed = s.hashed
	if err := r.write(k.at(key, "record"), used); err != nil {
		return fmt.Errorf("keep seal: %w", err)
	}
	return nil
}

// In is the same folder for roots of exactly this form; OpenSeals is for the strongest
// form that this host can.
func (k *Seals) In(form Form) *Seals { return &Seals{k.dir, k.cap, form} }

// Limits bound one root.
func (k *Seals) Limits() Limits { return Limits{Size: k.cap} }

// Acquire is the seal of t under key: the kept one, or one that is
// made of src, which is called only then, and kept. Of several launchers one makes it.
// warm says that it was there. A nil seal without an error says that roots are
// extracted here, for one task each: see Extract.
//
// What the host can is tried only where no seal of the strongest form is kept: a kept
// one shows it.
func (k *Seals) Acquire(ctx context.Context, key string, t tree.Tree, want digest.Digest, maxAge time.Duration, now time.Time, src func() (Source, error)) (s *Sealed, warm bool, err error) {
	if t.Zero() || t.Digest() != want {
		return nil, false, notAdmitted(t, want)
	}
	if k.form == Extracted {
		return nil, false, nil
	}
	if s, err = k.find(ctx, key, t, maxAge, now); s != nil || err != nil {
		return s, s != nil, err
	}
	if k.form == "" {
		form, err := Strongest(ctx)
		if err != nil {
			return nil, false, err
		}
		return k.In(form).Acquire(ctx, key, t, want, maxAge, now, src)
	}
	release, err := k.Lock(key)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if s, err = k.find(ctx, key, t, maxAge, now); s != nil || err != nil {
		return s, s != nil, err
	}
	from, err := src()
	if err != nil {
		return nil, false, err
	}
	if s, err = Seal(ctx, k.form, t, want, from, k.Limits()); err != nil {
		return nil, false, err
	}
	if _, err := k.Put(key, s, now); err != nil {
		_ = s.Close()
		return nil, false, err
	}
	return s, false, nil
}

// find is Get for k's form, or the strongest; a seal of another is as none.
func (k *Seals) find(ctx context.Context, key string, t tree.Tree, maxAge time.Duration, now time.Time) (*Sealed, error) {
	form := cmp.Or(k.form, InRAMFS)
	if r, err := readRecord(k.at(key, "record")); err == nil && r.Form != form {
		return nil, nil
	}
	s, _, err := k.Get(ctx, key, t, maxAge, now)
	if s != nil && s.form != form {
		return nil, s.Close()
	}
	return s, err
}

func (k *Seals) get(key string, want digest.Digest, now time.Time) (*Sealed, string) {
	if !keyForm.MatchString(key) {
		return nil, "absent"
	}
	if _, err := os.Lstat(k.at(key)); errors.Is(err, os.ErrNotExist) {
		return nil, "absent"
	}
	r, err := readRecord(k.at(key, "record"))
	if err != nil {
		return nil, err.Error()
	}
	boot, err := bootID()
	switch {
	case err != nil:
		return nil, err.Error()
	case r.Version != Version:
		return nil, "made by another builder"
	case r.Boot != boot:
		return nil, "recorded in another boot"
	case r.Tree != want:
		return nil, "of another tree"
	case r.Mount == 0:
		return nil, "recorded without a mount"
	}
	mount, err := openDir(k.at(key, "root"))
	if err != nil {
		return nil, err.Error()
	}
	defer closeAll(mount)
	if err := proveKept(mount, r.Mount, want); err != nil {
		return nil, err.Error()
	}
	clone, err := cloneTree(mount)
	if err != nil {
		return nil, err.Error()
	}
	s, err := newSealed(clone, r.Form, r.Tree, r.Size)
	if err != nil {
		return nil, err.Error()
	}
	s.image, s.hashed = r.Image, r.Hashed
	_ = os.Chtimes(k.at(key, "record"), now, now) // least recently used goes first
	return s, ""
}

// openDir is a descriptor of the directory at path, of the mount that is topmost
// there.
func openDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// proveKept holds the mount at hand against the recorded id, asks the kernel for the
// flags of both the mount and its superblock, and the image for its Tree.
func proveKept(mount *os.File, id uint64, want digest.Digest) error {
	if err := prove(mount, unix.EROFS_SUPER_MAGIC_V1, id); err != nil {
		return err
	}
	st, err := statmount(id)
	if err != nil {
		return err
	}
	if st.magic != unix.EROFS_SUPER_MAGIC_V1 || st.sbFlags&unix.MS_RDONLY == 0 || st.attr&unix.MOUNT_ATTR_RDONLY == 0 {
		return &reason.Error{Code: reason.SealBroken, What: "prove kept seal", Expected: "EROFS, read-only",
			Found: fmt.Sprintf("magic %#x, superblock %#x, mount %#x", st.magic, st.sbFlags, st.attr)}
	}
	buf := make([]byte, 128)
	n, err := unix.Fgetxattr(int(mount.Fd()), treeXattr, buf)
	if err != nil || digest.Digest(buf[:max(n, 0)]) != want {
		return &reason.Error{Code: reason.SealBroken, What: "prove kept seal", Expected: string(want), Found: fmt.Sprintf("%q, %v", buf[:max(n, 0)], err)}
	}
	return nil
}

// Put keeps s under key, hashed at now, and makes room for it by taking away the
// seals that were used least recently. An image that is larger than all the room,
// the form Extracted, and a mount without a unique id (Linux before 6.8) are not kept, which is no error. s stays the caller's.
func (k *Seals) Put(key string, s *Sealed, now time.Time) (kept bool, err error) {
	if !keyForm.MatchString(key) {
		return false, fmt.Errorf("keep seal: %q is no key", key)
	}
	if s.form == Extracted || s.id == 0 || s.size > k.cap {
		return false, nil
	}
	err = k.change(func() error {
		if err := k.remove(key); err != nil {
			return err
		}
		if err := k.room(s.size); err != nil {
			return err
		}
		if err := k.private(); err != nil {
			return err
		}
		if err := k.put(key, s, now); err != nil {
			return errors.Join(err, k.remove(key))
		}
		return nil
	})
	return err == nil, err
}

func (k *Seals) put(key string, s *Sealed, now time.Time) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.at(key, "root"), 0o700); err != nil {
		return fmt.Errorf("keep seal: %w", err)
	}
	m, err := s.Mount(nil)
	if err != nil {
		return err
	}
	defer closeAll(m)
	id, err := uniqueID(m)
	if err != nil {
		return fmt.Errorf("keep seal: %w", err)
	}
	if err := Place(m, k.at(key, "root")); err != nil {
		return err
	}
	r := record{Version, boot, id, s.form, s.tree, s.image, s.size, now.UTC().Truncate(time.Second)}
	if err := r.write(k.at(key, "record"), now); err != nil {
		return fmt.Errorf("keep seal: %w", err)
	}
	return nil
}
