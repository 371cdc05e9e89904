package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBelow opens what is there under its own name, and nothing through a link.
func TestBelow(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "b", "c"), "x")
	write(t, filepath.Join(dir, "out"), "y")
	if err := errors.Join(os.Symlink("a", filepath.Join(dir, "l")), os.Symlink("../out", filepath.Join(dir, "a", "up"))); err != nil {
		t.Fatal(err)
	}
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	for name, want := range map[string]error{
		"a/b/c": nil, "a/b": nil, "l": ErrLink, "l/b/c": ErrLink, "a/up": ErrLink, "a/none": fs.ErrNotExist, "a/b/c/d": fs.ErrNotExist,
	} {
		f, err := Below(at, name, false)
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
	if _, err := Below(at, "../"+filepath.Base(dir)+"/out", false); err == nil {
		t.Error("a name above the folder was opened")
	}
	sub, err := Below(at, "a", true)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	f, err := Below(sub, "b/c", false)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Below(at, "out", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file for a folder: %v", err)
	}
}

// TestLook tells types and names apart.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "f"), "x")
	if err := errors.Join(os.Link(path, filepath.Join(dir, "g")), os.Symlink("f", filepath.Join(dir, "l")), os.Mkdir(filepath.Join(dir, "d"), 0o700)); err != nil {
		t.Fatal(err)
	}
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	for name, want := range map[string]Entry{"f": {0, 2}, "g": {0, 2}, "l": {fs.ModeSymlink, 1}, "d": {fs.ModeDir, 1}} {
		e, err := Look(at, name)
		if err != nil || e.Mode.Type() != want.Mode || e.Names != want.Names {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// TestPlain follows no link and opens nothing but files.
func TestPlain(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "f"), "x")
	link := filepath.Join(dir, "l")
	if err := os.Symlink("f", link); err != nil {
		t.Fatal(err)
	}
	f, err := Plain(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Plain(link, os.O_RDONLY); !errors.Is(err, ErrLink) {
		t.Errorf("link: %v", err)
	}
	if f, err = Reached(link); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, open := range []func() (*os.File, error){func() (*os.File, error) { return Plain(dir, os.O_RDONLY) }, func() (*os.File, error) { return Reached(dir) }} {
		if _, err := open(); !errors.Is(err, ErrNotRegular) {
			t.Errorf("folder: %v", err)
		}
	}
}

// TestLock keeps two writers apart and lets readers in together.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	open := func() *os.File {
		f, err := Folder(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	a, b, c := open(), open(), open()
	if err := errors.Join(Lock(a, true, false), Lock(b, true, false)); err != nil {
		t.Fatal(err)
	}
	if err := Lock(c, false, false); !errors.Is(err, ErrBusy) {
		t.Errorf("a writer beside readers: %v", err)
	}
	a.Close()
	b.Close()
	if err := Lock(c, false, true); err != nil {
		t.Errorf("a writer alone: %v", err)
	}
	if err := Lock(open(), true, false); !errors.Is(err, ErrBusy) {
		t.Errorf("a reader beside a writer: %v", err)
	}
}

// TestRename replaces what is there.
func TestRename(t *testing.T) {
	dir := t.TempDir()
	to := write(t, filepath.Join(dir, "to"), "old")
	f, err := Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("new"); err != nil {
		t.Fatal(err)
	}
	if err := Rename(f, filepath.Join(dir, "from"), to); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(to); string(raw) != "new" {
		t.Errorf("%q, %v", raw, err)
	}
}
