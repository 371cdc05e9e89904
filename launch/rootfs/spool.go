package rootfs

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Source gives the bytes of a Tree's files. It need not be trusted: who reads from
// it hashes again.
type Source interface {
	// Open reads a regular file of the Tree from its start. More than its size may
	// follow and is not read.
	Open(e tree.Entry) (io.ReadCloser, error)
}

// Spool holds uncompressed layers for random access, in files without a name: a
// launcher that is killed leaves nothing behind. It is safe for concurrent use.
type Spool struct {
	dir  string
	mu   sync.Mutex
	blob map[digest.Digest]*os.File
}

// NewSpool makes a spool whose files take their space from the file system of dir,
// which is made (0700) when it is missing.
func NewSpool(dir string) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return &Spool{dir: dir, blob: map[digest.Digest]*os.File{}}, nil
}

// Scan is tree.Scan that keeps the bytes.
func (s *Spool) Scan(r io.Reader, diffID digest.Digest, lim tree.Limits) (tree.Layer, error) {
	var l tree.Layer
	err := s.keep(r, diffID, func(r io.Reader) (err error) {
		l, err = tree.Scan(r, diffID, lim)
		return err
	})
	return l, err
}

// Fill keeps the bytes of an uncompressed layer whose Tree is known already. The
// stream is hashed (digest-mismatch-diffid).
func (s *Spool) Fill(r io.Reader, diffID digest.Digest) error {
	if s.Has(diffID) {
		return nil
	}
	return s.keep(r, diffID, func(r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return fmt.Errorf("read layer %s: %w", diffID, err)
		}
		if sum := digest.NewDigest(digest.SHA256, h); sum != diffID {
			return &reason.Error{Code: reason.DigestMismatchDiffID, What: "read layer " + string(diffID),
				Expected: string(diffID), Found: string(sum)}
		}
		return nil
	})
}

// keep copies into a nameless file what use reads from r, if use accepts it.
func (s *Spool) keep(r io.Reader, diffID digest.Digest, use func(io.Reader) error) error {
	f, err := nameless(s.dir)
	if err != nil {
		return fmt.Errorf("spool layer %s: %w", diffID, err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err := use(io.TeeReader(r, w)); err != nil {
		closeAll(f)
		return err
	}
	if err := w.Flush(); err != nil {
		closeAll(f)
		return fmt.Errorf("spool layer %s: %w", diffID, err)
	}
	s.Use(diffID, f)
	return nil
}

// Use takes over f as the uncompressed layer diffID: a layer that lies uncompressed
// in the store needs no copy.
func (s *Spool) Use(diffID digest.Digest, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	closeAll(s.blob[diffID])
	s.blob[diffID] = f
}

// Has reports whether the layer is here.
func (s *Spool) Has(diffID digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blob[diffID] != nil
}

// Open reads e where it lies in its layer. A layer that is not here is
// spool-missing.
func (s *Spool) Open(e tree.Entry) (io.ReadCloser, error) {
	if e.Size == 0 {
		return io.NopCloser(eof{}), nil
	}
	s.mu.Lock()
	f := s.blob[e.Blob]
	s.mu.Unlock()
	if f == nil {
		return nil, &reason.Error{Code: reason.SpoolMissing, What: fmt.Sprintf("read %q", e.Path), Found: "layer " + string(e.Blob)}
	}
	return io.NopCloser(io.NewSectionReader(f, e.Offset, e.Size)), nil
}

// Close gives the space back.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for d, f := range s.blob {
		errs = append(errs, f.Close())
		delete(s.blob, d)
	}
	return errors.Join(errs...)
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// nameless opens a file in dir that has no name, or loses it at once where the file
// system has no O_TMPFILE.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|unix.O_EXCL, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, "layer-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		closeAll(f)
		return nil, err
	}
	return f, nil
}

// Folder is the Source of a Tree from files: they lie in one folder, under their
// paths in the Tree.
type Folder struct{ root *os.Root }

// OpenFolder opens a model folder. Nothing outside it can be reached through it.
func OpenFolder(dir string) (*Folder, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	return &Folder{r}, nil
}

// Open reads a regular file; a FIFO or device in its place is refused
// (digest-mismatch-file), not waited for.
func (d *Folder) Open(e tree.Entry) (io.ReadCloser, error) {
	f, err := d.root.OpenFile(e.Path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", e.Path, err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		return f, nil
	}
	closeAll(f)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", e.Path, err)
	}
	return nil, &reason.Error{Code: reason.DigestMismatchFile, What: fmt.Sprintf("read %q", e.Path), Expected: "a regular file", Found: info.Mode().String()}
}

// Close closes the folder.
func (d *Folder) Close() error { return d.root.Close() }
