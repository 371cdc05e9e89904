package content

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/file"
)

// pending is a file being written, with no name at all or one in partial/.
type pending struct {
	s    *Store
	f    *os.File
	name string // in partial/, empty while unnamed
}

// create starts a file, preferably one without a name, which a kill removes.
func (s *Store) create() (*pending, error) {
	f, err := file.Unnamed(filepath.Join(s.dir, "partial"))
	switch {
	case err == nil:
		return &pending{s: s, f: f}, nil
	case errors.Is(err, file.ErrNoUnnamed):
		return s.createNamed()
	}
	return nil, unwritable("write to store "+s.dir, err)
}

// createNamed is for file systems without such files. The lock tells sweep that
// the writer lives; a sweep between open and lock costs another try.
func (s *Store) createNamed() (*pending, error) {
	for range 10 {
		name := s.partial()
		f, err := file.Create(name)
		if err != nil {
			return nil, unwritable("write to store "+s.dir, err)
		}
		if file.Lock(f, false, false) == nil {
			if e, err := file.Stat(f); err == nil && e.Names == 1 {
				return &pending{s: s, f: f, name: name}, nil
			}
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
		err := file.Name(p.f, path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return unwritable("write "+path, err)
		}
		// Link cannot replace: take a name, locked against sweep, and rename.
		if err := file.Lock(p.f, false, false); err != nil {
			return unwritable("write "+path, err)
		}
		name := p.s.partial()
		if err := file.Name(p.f, name); err != nil {
			return unwritable("write "+path, err)
		}
		p.name = name
	}
	if err := file.Rename(p.f, p.name, path); err != nil {
		return unwritable("write "+path, err)
	}
	p.name = ""
	return nil
}

// discard closes the file and removes it if it still has a partial name.
func (p *pending) discard() {
	p.f.Close()
	if p.name != "" {
		os.Remove(p.name)
	}
}

func syncDir(dir string) error {
	if err := file.SyncFolder(dir); err != nil {
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
		f, err := file.Plain(name, os.O_RDONLY)
		if err != nil {
			continue
		}
		if file.Lock(f, false, false) == nil {
			_ = file.Remove(f, name)
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
