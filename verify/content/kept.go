package content

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	keySize = 32
	maxKept = 512 << 20 // bytes of one kept value
	maxRef  = 16 << 20  // bytes of one named record
)

// Keep stores a value that was derived, by the procedure that kind names, from
// exactly the inputs. The kind must change when the procedure does.
func (s *Store) Keep(kind string, inputs []digest.Digest, value []byte) error {
	name, err := keptName(kind, inputs)
	if err != nil {
		return err
	}
	return s.writeMAC("kept", name, value)
}

// Kept finds a value that Keep stored for the same kind and inputs, in the
// same order. A value that is there but carries no MAC of this store's key is
// not found, and the error, code kept-forged, says so: the caller derives the
// value again and reports the error.
func (s *Store) Kept(kind string, inputs []digest.Digest) ([]byte, bool, error) {
	name, err := keptName(kind, inputs)
	if err != nil {
		return nil, false, err
	}
	return s.readMAC("kept", name, maxKept)
}

func keptName(kind string, inputs []digest.Digest) (string, error) {
	if kind == "" || strings.ContainsAny(kind, "\x00\n") {
		return "", fmt.Errorf("keep %q: malformed kind", kind)
	}
	var b strings.Builder
	b.WriteString(kind)
	b.WriteByte(0)
	for _, d := range inputs {
		if err := CheckDigest(d); err != nil {
			return "", fmt.Errorf("keep %s: %w", kind, err)
		}
		b.WriteString(string(d) + "\x01")
	}
	return b.String(), nil
}

// SetRef stores a small record under a name, replacing the one before; one that is
// there already, and authentic, is not written again.
func (s *Store) SetRef(name string, value []byte) error {
	if name == "" || strings.ContainsRune(name, '\n') || len(value) > maxRef {
		return fmt.Errorf("set ref %q: malformed name, or a value over %d bytes", name, maxRef)
	}
	if have, ok, err := s.Ref(name); err == nil && ok && bytes.Equal(have, value) {
		return nil
	}
	return s.writeMAC("ref", name, value)
}

// Ref finds a record that SetRef stored. A forged one is not found and gives
// an error with the code kept-forged.
func (s *Store) Ref(name string) ([]byte, bool, error) { return s.readMAC("ref", name, maxRef) }

// RemoveRef deletes a record; an absent one is no error.
func (s *Store) RemoveRef(name string) error {
	if err := os.Remove(s.macPath("ref", name)); err != nil && exists(err) {
		return unwritable("remove ref "+name, err)
	}
	return nil
}

// Refs is the name of every authentic record, sorted.
func (s *Store) Refs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "refs"))
	if err != nil {
		return nil, &reason.Error{Code: reason.StoreUnreadable, What: "list store " + s.dir, Err: err}
	}
	var names []string
	for _, e := range entries {
		raw, err := readSmall(filepath.Join(s.dir, "refs", e.Name()), maxRef)
		if err != nil || len(raw) < sha256.Size {
			continue
		}
		name, _, ok := strings.Cut(string(raw[sha256.Size:]), "\n")
		if !ok || filepath.Base(s.macPath("ref", name)) != e.Name() {
			continue
		}
		if _, ok, _ := s.Ref(name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *Store) macPath(purpose, name string) string {
	folder := "kept"
	if purpose == "ref" {
		folder = "refs"
	}
	h := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, folder, hex.EncodeToString(h[:]))
}

func mac(key []byte, purpose, name string, value []byte) []byte {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s\x00%d\x00%s", purpose, len(name), name)
	h.Write(value)
	return h.Sum(nil)
}

func (s *Store) writeMAC(purpose, name string, value []byte) error {
	key, err := s.key()
	if err != nil {
		return err
	}
	b := mac(key, purpose, name, value)
	b = append(b, name...)
	b = append(b, '\n')
	return s.writeFile(s.macPath(purpose, name), append(b, value...))
}

func (s *Store) readMAC(purpose, name string, max int64) ([]byte, bool, error) {
	path := s.macPath(purpose, name)
	raw, err := readSmall(path, max+sha256.Size+int64(len(name))+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	forged := &reason.Error{Code: reason.KeptForged, What: "read " + path, Expected: "a value with this store's MAC", Next: "rm " + path}
	if errors.Is(err, file.ErrNotRegular) || errors.Is(err, file.ErrLink) || errors.Is(err, errTooLarge) {
		forged.Found = err.Error()
		return nil, false, forged
	}
	if err != nil {
		return nil, false, &reason.Error{Code: reason.StoreUnreadable, What: "read " + path, Err: err}
	}
	key, err := s.key()
	if err != nil {
		return nil, false, err
	}
	head := sha256.Size + len(name) + 1
	if len(raw) < head || !bytes.Equal(raw[sha256.Size:head], []byte(name+"\n")) {
		return nil, false, forged
	}
	value := raw[head:]
	if !hmac.Equal(raw[:sha256.Size], mac(key, purpose, name, value)) {
		return nil, false, forged
	}
	return value, true, nil
}

// key reads the store's key, making it on first use. Two first users agree,
// because a link does not replace.
func (s *Store) key() ([]byte, error) {
	path := filepath.Join(s.dir, "key")
	for range 2 {
		f, err := file.Plain(path, os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			if err := s.makeKey(path); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, &reason.Error{Code: reason.StoreUnreadable, What: "read " + path, Err: err}
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, &reason.Error{Code: reason.StoreUnreadable, What: "read " + path, Err: err}
		}
		uid, mode, err := file.Owner(f)
		if err != nil {
			return nil, &reason.Error{Code: reason.StoreUnreadable, What: "read " + path, Err: err}
		}
		if mode&0o077 != 0 || uid != os.Geteuid() || info.Size() != keySize {
			return nil, &reason.Error{Code: reason.StoreExposed, What: "read " + path, Expected: "32 bytes, mode 0600, this user's",
				Found: fmt.Sprintf("%d bytes, mode %04o, user %d", info.Size(), mode, uid), Next: "rm " + path}
		}
		key := make([]byte, keySize)
		_, err = io.ReadFull(f, key)
		if err != nil {
			return nil, &reason.Error{Code: reason.StoreUnreadable, What: "read " + path, Err: err}
		}
		return key, nil
	}
	return nil, &reason.Error{Code: reason.StoreUnreadable, What: "read " + path, Err: fs.ErrNotExist}
}

func (s *Store) makeKey(path string) error {
	key := make([]byte, keySize)
	rand.Read(key) // never fails: crypto/rand ends the program instead
	p, err := s.createNamed()
	if err != nil {
		return err
	}
	defer p.discard()
	if err := p.f.Chmod(0o600); err != nil {
		return unwritable("write "+path, err)
	}
	if _, err := p.f.Write(key); err != nil {
		return unwritable("write "+path, err)
	}
	if err := p.f.Sync(); err != nil {
		return unwritable("write "+path, err)
	}
	if err := os.Link(p.name, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return unwritable("write "+path, err)
	}
	return syncDir(s.dir)
}

var errTooLarge = errors.New("file too large")

func readSmall(path string, max int64) ([]byte, error) {
	f, err := file.Plain(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > max {
		return nil, errTooLarge
	}
	raw := make([]byte, info.Size())
	_, err = io.ReadFull(f, raw)
	return raw, err
}
