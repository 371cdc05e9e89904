package content

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// pending is a file being written, with no name at all or one in partial/.
type pending struct {
	s    *Store
	f    *os.File
	name string // in partial/, empty while unnamed
}

// create starts a file, preferably one without a name, which a kill removes.
func (s *Store) create() (*pending, error) {
	fd, err := unix.Open(filepath.Join(s.dir, "partial"), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o400)
	if err == nil {
		return &pending{s: s, f: os.NewFile(uintptr(fd), "unnamed")}, nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) {
		return nil, unwritable("write to store "+s.dir, err)
	}
	return s.createNamed()
}

// createNamed is for file systems without O_TMPFILE. The lock tells sweep that
// the writer lives; a sweep between open and lock costs another try.
func (s *Store) createNamed() (*pending, error) {
	for range 10 {
		name := s.partial()
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o400)
		if err != nil {
			return nil, unwritable("write to store "+s.dir, err)
		}
		var st unix.Stat_t
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 1 {
			return &pending{s: s, f: f, name: name}, nil
		}
		f.Close()
	}
	return nil, unwritable("write to store "+s.dir, errors.New("files in partial/ vanish"))
}

func (s *Store) partial() string {
	return filepath.Join(s.dir, "partial", rand.Text()+".part")
}

// publish syncs the file and gives it its final name in one step, replacing
// what was there. The folder is not synced: after a power cut the name may be
// gone, which is what an absent blob or record means anyway.
func (p *pending) publish(path string) error {
	if err := p.f.Sync(); err != nil {
		return unwritable("write "+path, err)
	}
	if p.name == "" {
		fd := fmt.Sprintf("/proc/self/fd/%d", p.f.Fd())
		err := unix.Linkat(unix.AT_FDCWD, fd, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return unwritable("write "+path, err)
		}
		// Link cannot replace: take a name, locked against sweep, and rename.
		if err := unix.Flock(int(p.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return unwritable("write "+path, err)
		}
		name := p.s.partial()
		if err := unix.Linkat(unix.AT_FDCWD, fd, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
			return unwritable("write "+path, err)
		}
		p.name = name
	}
	if err := os.Rename(p.name, path); err != nil {
		return unwritable("write "+path, err)
	}
	p.name = ""
	return nil
}

// discard closes the file and removes it if it still has a partial name.
func (p *pending) discard() {
	if p.name != "" {
		os.Remove(p.name)
	}
	p.f.Close()
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return unwritable("write "+dir, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return unwritable("write "+dir, err)
	}
	return nil
}

// sweep removes partial files whose writer is gone. What it cannot remove it
// leaves for the next time: nothing reads partial files.
func (s *Store) sweep() {
	entries, err := os.ReadDir(filepath.Join(s.dir, "partial"))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".part") {
			continue
		}
		name := filepath.Join(s.dir, "partial", e.Name())
		f, err := openRegular(name)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.Remove(name)
		}
		f.Close()
	}
}

// writeFile writes a small file in the same way as a blob.
func (s *Store) writeFile(path string, b []byte) error {
	p, err := s.create()
	if err != nil {
		return err
	}
	defer p.discard()
	if _, err := p.f.Write(b); err != nil {
		return unwritable("write "+path, err)
	}
	return p.publish(path)
}

// exists tells an absent file from one that cannot be read.
func exists(err error) bool { return !errors.Is(err, fs.ErrNotExist) }
