package content

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Store is a folder of blobs. Several processes may use one at once.
type Store struct {
	dir string
}

// Open opens the store in dir, which it creates with mode 0700 if absent, and
// removes what killed writers left behind. Errors have the codes
// store-unwritable and store-exposed (the folder, or the key in it, is open
// to other users).
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, unwritable("open store "+dir, err)
	}
	for _, sub := range []string{"", "blobs/sha256", "kept", "refs", "partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, unwritable("open store "+dir, err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, unwritable("open store "+dir, err)
	}
	if mode := file.Shared(info); mode&0o022 != 0 {
		return nil, &reason.Error{Code: reason.StoreExposed, What: "open store " + dir, Expected: "mode 0700",
			Found: fmt.Sprintf("mode %04o", mode), Next: "chmod 0700 " + dir}
	}
	s := &Store{dir: dir}
	s.sweep()
	return s, nil
}

func (s *Store) blob(d digest.Digest) string {
	return filepath.Join(s.dir, "blobs", "sha256", d.Encoded())
}

// Has reports whether a blob lies under the digest. It does not read it.
func (s *Store) Has(d digest.Digest) bool {
	_, err := s.Stat(d)
	return err == nil
}

// Stat is the size in bytes of what lies under the digest, unread.
func (s *Store) Stat(d digest.Digest) (int64, error) {
	if err := CheckDigest(d); err != nil {
		return 0, err
	}
	info, err := os.Lstat(s.blob(d))
	if err == nil && !info.Mode().IsRegular() {
		err = file.ErrNotRegular
	}
	if err != nil {
		return 0, unreadable(d, err)
	}
	return info.Size(), nil
}

// Open reads a blob of a known size, or -1. The reader ends in *Mismatch if
// the file is not that blob.
func (s *Store) Open(d digest.Digest, size int64) (io.ReadCloser, error) {
	f, err := s.OpenRaw(d)
	if err != nil {
		return nil, err
	}
	return Verify(f, d, size), nil
}

// OpenRaw opens a blob's file for random access, unverified: only for a
// caller that hashes what it reads.
func (s *Store) OpenRaw(d digest.Digest) (*os.File, error) {
	if err := CheckDigest(d); err != nil {
		return nil, err
	}
	f, err := file.Plain(s.blob(d), os.O_RDONLY)
	if err != nil {
		return nil, unreadable(d, err)
	}
	return f, nil
}

// Bytes reads and hashes a blob of at most max bytes.
func (s *Store) Bytes(d digest.Digest, max int64) ([]byte, error) {
	f, err := s.OpenRaw(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(d, err)
	}
	if info.Size() > max {
		return nil, &Mismatch{Want: d, WantSize: max, GotSize: info.Size()}
	}
	raw := make([]byte, info.Size())
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, unreadable(d, err)
	}
	if got := digest.FromBytes(raw); got != d {
		return nil, &Mismatch{Want: d, Got: got, WantSize: -1, GotSize: info.Size()}
	}
	return raw, nil
}

// Put stores what r yields, which must have the digest and, unless size is
// -1, the size. Wrong bytes end in *Mismatch and leave nothing behind. A blob
// already there is replaced, which repairs it. A write error has the code
// store-unwritable; an error of r is returned as it is.
func (s *Store) Put(r io.Reader, want digest.Digest, size int64) error {
	if err := CheckDigest(want); err != nil {
		return err
	}
	p, err := s.create()
	if err != nil {
		return err
	}
	defer p.discard()
	v := Verify(r, want, size)
	buf := make([]byte, 128<<10)
	for {
		n, err := v.Read(buf)
		if n > 0 {
			if _, err := p.f.Write(buf[:n]); err != nil {
				return unwritable("write blob "+string(want), err)
			}
		}
		if err == io.EOF {
			return p.publish(s.blob(want))
		}
		if err != nil {
			return err
		}
	}
}

// PutBytes stores b and returns its digest.
func (s *Store) PutBytes(b []byte) (digest.Digest, error) {
	d := digest.FromBytes(b)
	return d, s.Put(bytes.NewReader(b), d, int64(len(b)))
}

// Remove deletes a blob; an absent one is no error.
func (s *Store) Remove(d digest.Digest) error {
	if err := CheckDigest(d); err != nil {
		return err
	}
	if err := os.Remove(s.blob(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unwritable("remove blob "+string(d), err)
	}
	return nil
}

// SetAside takes a blob that is not the one of its name out of the way, into the
// folder damaged, and returns where it lies now. Who looks for the digest next finds
// it absent (blob-absent). A blob that is whole, as another process may have mended
// it, stays: then the result is empty.
func (s *Store) SetAside(d digest.Digest) (string, error) {
	r, err := s.Open(d, -1)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var m *Mismatch
	if _, err := io.Copy(io.Discard, r); !errors.As(err, &m) {
		return "", err
	}
	to := filepath.Join(s.dir, "damaged", d.Encoded())
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", unwritable("set blob "+string(d)+" aside", err)
	}
	if err := os.Rename(s.blob(d), to); err != nil {
		return "", unwritable("set blob "+string(d)+" aside", err)
	}
	return to, nil
}

// RemoveDamaged deletes what SetAside kept.
func (s *Store) RemoveDamaged() error {
	if err := os.RemoveAll(filepath.Join(s.dir, "damaged")); err != nil {
		return unwritable("remove damaged blobs", err)
	}
	return nil
}

// List is every blob's digest, sorted, unread.
func (s *Store) List() ([]digest.Digest, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "blobs", "sha256"))
	if err != nil {
		return nil, &reason.Error{Code: reason.StoreUnreadable, What: "list store " + s.dir, Err: err}
	}
	var all []digest.Digest
	for _, e := range entries {
		if d := digest.Digest("sha256:" + e.Name()); CheckDigest(d) == nil && e.Type().IsRegular() {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all, nil
}

func unwritable(what string, err error) error {
	return &reason.Error{Code: reason.StoreUnwritable, What: what, Expected: "room, and permission to write", Err: err}
}

func unreadable(d digest.Digest, err error) error {
	code := reason.StoreUnreadable
	if errors.Is(err, fs.ErrNotExist) {
		code = reason.BlobAbsent
	}
	return &reason.Error{Code: code, What: "read blob " + string(d), Err: err}
}

// Spool makes an empty file without a name, on the store's file system, for
// data that is on its way; it is gone once closed.
func (s *Store) Spool() (*os.File, error) {
	p, err := s.create()
	if err != nil {
		return nil, err
	}
	if p.name != "" {
		os.Remove(p.name)
	}
	return p.f, nil
}

// Dir is the store's folder.
func (s *Store) Dir() string { return s.dir }
