package content

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantCode(t *testing.T, err error, code reason.Code) {
	t.Helper()
	if e, ok := reason.Of(err); !ok || e.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// damage is each way to spoil a stream.
var damage = map[string]func([]byte) []byte{
	"flip-first": func(b []byte) []byte { b[0] ^= 1; return b },
	"flip-last":  func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b },
	"truncate":   func(b []byte) []byte { return b[:len(b)-1] },
	"empty":      func(b []byte) []byte { return nil },
	"extend":     func(b []byte) []byte { return append(b, 0) },
	"double":     func(b []byte) []byte { return append(b, b...) },
}

func TestReader(t *testing.T) {
	good := bytes.Repeat([]byte("0123456789"), 1000)
	d := digest.FromBytes(good)
	wrap := map[string]func(io.Reader) io.Reader{
		"plain": func(r io.Reader) io.Reader { return r }, "one": iotest.OneByteReader,
		"half": iotest.HalfReader, "dataerr": iotest.DataErrReader,
	}
	for name, w := range wrap {
		for _, size := range []int64{-1, int64(len(good))} {
			got, err := io.ReadAll(Verify(w(bytes.NewReader(good)), d, size))
			if err != nil || !bytes.Equal(got, good) {
				t.Errorf("%s, size %d: %v", name, size, err)
			}
			for what, f := range damage {
				bad := f(bytes.Clone(good))
				r := Verify(w(bytes.NewReader(bad)), d, size)
				got, err := io.ReadAll(r)
				var m *Mismatch
				if !errors.As(err, &m) {
					t.Errorf("%s, size %d, %s: %v, want a mismatch", name, size, what, err)
				}
				if size >= 0 && len(got) >= len(good) {
					t.Errorf("%s, %s: all %d bytes were handed over", name, what, len(got))
				}
				if _, again := r.Read(make([]byte, 1)); again != err {
					t.Errorf("%s, %s: a second read says %v", name, what, again)
				}
			}
		}
	}
	if _, err := io.ReadAll(Verify(strings.NewReader(""), digest.FromString(""), 0)); err != nil {
		t.Errorf("the empty blob: %v", err)
	}
	if _, err := io.ReadFull(Verify(strings.NewReader("abX"), digest.FromString("abc"), 3), make([]byte, 3)); err == nil {
		t.Error("a caller that counts gets all bytes of a wrong blob")
	}
	for _, size := range []int64{2, 4} { // the right digest does not make up for the wrong size
		var m *Mismatch
		if _, err := io.ReadAll(Verify(strings.NewReader("abc"), digest.FromString("abc"), size)); !errors.As(err, &m) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(Verify(iotest.ErrReader(broken), d, -1)); err != broken {
		t.Errorf("a read error becomes %v", err)
	}
	for _, d := range []digest.Digest{"", "sha256:../../etc/passwd", "md5:00", "sha512:" + digest.Digest(strings.Repeat("0", 128))} {
		if _, err := io.ReadAll(Verify(strings.NewReader(""), d, -1)); err == nil {
			t.Errorf("digest %q is accepted", d)
		}
	}
}

func TestStore(t *testing.T) {
	s := open(t)
	b := []byte("hello")
	d, err := s.PutBytes(b)
	if err != nil || !s.Has(d) {
		t.Fatal(err)
	}
	if _, err := s.PutBytes(b); err != nil {
		t.Errorf("a second put: %v", err)
	}
	if got, err := s.Bytes(d, 5); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Bytes(d, 4); err == nil {
		t.Error("a blob over the cap is read")
	}
	info, err := os.Stat(s.blob(d))
	if err != nil || info.Mode() != 0o400 {
		t.Errorf("blob mode %v, %v", info.Mode(), err)
	}
	if all, err := s.List(); err != nil || !slices.Equal(all, []digest.Digest{d}) {
		t.Errorf("list %v, %v", all, err)
	}
	if err := s.Remove(d); err != nil || s.Has(d) {
		t.Errorf("remove: %v", err)
	}
	if err := s.Remove(d); err != nil {
		t.Errorf("remove again: %v", err)
	}
}

func TestStorePutRefuses(t *testing.T) {
	s := open(t)
	good := []byte("some bytes")
	d := digest.FromBytes(good)
	for name, f := range damage {
		for _, size := range []int64{-1, int64(len(good))} {
			var m *Mismatch
			if err := s.Put(bytes.NewReader(f(bytes.Clone(good))), d, size); !errors.As(err, &m) {
				t.Errorf("%s, size %d: %v", name, size, err)
			}
		}
	}
	if err := s.Put(io.MultiReader(bytes.NewReader(good), iotest.ErrReader(io.ErrUnexpectedEOF)), d, -1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", err)
	}
	if s.Has(d) {
		t.Error("a refused blob is in the store")
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "partial")); len(left) != 0 {
		t.Errorf("%v are left behind", left)
	}
	if err := s.Put(strings.NewReader(""), "sha256:../../x", 0); err == nil {
		t.Error("a digest with a path in it is accepted")
	}
}

// corrupt overwrites a blob's file in place.
func corrupt(t *testing.T, s *Store, d digest.Digest, b []byte) {
	t.Helper()
	if err := os.Remove(s.blob(d)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.blob(d), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStoreCorrupt(t *testing.T) {
	good := []byte("some bytes")
	for name, f := range damage {
		s := open(t)
		d, err := s.PutBytes(good)
		if err != nil {
			t.Fatal(err)
		}
		corrupt(t, s, d, f(bytes.Clone(good)))
		var m *Mismatch
		if _, err := s.Bytes(d, 1<<20); !errors.As(err, &m) {
			t.Errorf("%s: bytes: %v", name, err)
		}
		r, err := s.Open(d, int64(len(good)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.As(err, &m) {
			t.Errorf("%s: open: %v", name, err)
		}
		r.Close()
		to, err := s.SetAside(d)
		if err != nil || s.Has(d) {
			t.Errorf("%s: set aside: %v", name, err)
		}
		if there, err := os.ReadFile(to); err != nil || !bytes.Equal(there, f(bytes.Clone(good))) {
			t.Errorf("%s: set aside: %q %v", name, there, err)
		}
		if err := s.Put(bytes.NewReader(good), d, -1); err != nil {
			t.Fatal(err)
		}
		if again, err := s.SetAside(d); err != nil || again != "" || !s.Has(d) {
			t.Errorf("%s: what is whole is set aside: %q %v", name, again, err)
		}
		if err := s.RemoveDamaged(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: what is damaged stays: %v", name, err)
		}
		if got, err := s.Bytes(d, 1<<20); err != nil || !bytes.Equal(got, good) {
			t.Errorf("%s: put does not repair: %v", name, err)
		}
	}
}

func TestStoreAbsent(t *testing.T) {
	s := open(t)
	_, err := s.Open(digest.FromString("x"), -1)
	wantCode(t, err, reason.BlobAbsent)
	_, err = s.Bytes(digest.FromString("x"), 1)
	wantCode(t, err, reason.BlobAbsent)
}

// TestStorePlanted puts things that are no files where a blob should be.
func TestStorePlanted(t *testing.T) {
	s := open(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := digest.FromString("x")
	for name, plant := range map[string]func(string) error{
		"fifo":   func(p string) error { return fifo(p) },
		"link":   func(p string) error { return os.Symlink(secret, p) },
		"folder": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		if err := plant(s.blob(d)); err != nil {
			t.Fatal(err)
		}
		_, err := s.Bytes(d, 10)
		if e, _ := reason.Of(err); e == nil || e.Code != reason.StoreUnreadable {
			t.Errorf("%s: %v", name, err)
		}
		if s.Has(d) {
			t.Errorf("%s counts as a blob", name)
		}
		os.Remove(s.blob(d))
	}
}

func TestStoreUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(file, "store"))
	wantCode(t, err, reason.StoreUnwritable)
	s := open(t)
	if err := os.RemoveAll(filepath.Join(s.dir, "partial")); err != nil {
		t.Fatal(err)
	}
	_, err = s.PutBytes([]byte("x"))
	wantCode(t, err, reason.StoreUnwritable)
}

func TestStoreExposed(t *testing.T) {
	s := open(t)
	if err := s.SetRef("a", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(s.dir, "key"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Ref("a")
	wantCode(t, err, reason.StoreExposed)
	if err := os.Chmod(s.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err = Open(s.dir)
	wantCode(t, err, reason.StoreExposed)
}

func TestConcurrentPut(t *testing.T) {
	s := open(t)
	b := bytes.Repeat([]byte("x"), 300<<10)
	d := digest.FromBytes(b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			other, err := Open(s.dir) // sweeps while others write
			if err != nil {
				t.Error(err)
				return
			}
			if err := other.Put(iotest.HalfReader(bytes.NewReader(b)), d, int64(len(b))); err != nil {
				t.Error(err)
			}
			if got, err := other.Bytes(d, 1<<20); err != nil || len(got) != len(b) {
				t.Errorf("after put: %v", err)
			}
			if err := other.SetRef("r", []byte("same")); err != nil {
				t.Error(err)
			}
			if v, ok, err := other.Ref("r"); !ok || err != nil || string(v) != "same" {
				t.Errorf("ref: %q %v %v", v, ok, err)
			}
		})
	}
	wg.Wait()
	if left, _ := os.ReadDir(filepath.Join(s.dir, "partial")); len(left) != 0 {
		t.Errorf("%v are left behind", left)
	}
}

// TestNamedPartial takes the way for file systems without O_TMPFILE.
func TestNamedPartial(t *testing.T) {
	s := open(t)
	alive, err := s.createNamed()
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(s.dir, "partial", "dead.part")
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Error("a dead writer's file stays")
	}
	if _, err := os.Stat(alive.name); err != nil {
		t.Error("a living writer's file is swept")
	}
	if _, err := alive.f.WriteString("whole"); err != nil {
		t.Fatal(err)
	}
	d := digest.FromString("whole")
	if err := alive.publish(s.blob(d)); err != nil {
		t.Fatal(err)
	}
	alive.discard()
	if got, err := s.Bytes(d, 10); err != nil || string(got) != "whole" {
		t.Errorf("%q, %v", got, err)
	}
	runtime.KeepAlive(alive)
}

func TestKept(t *testing.T) {
	s := open(t)
	in := []digest.Digest{digest.FromString("a"), digest.FromString("b")}
	if _, ok, err := s.Kept("tree/1", in); ok || err != nil {
		t.Fatalf("an empty store keeps something: %v", err)
	}
	if err := s.Keep("tree/1", in, []byte("v")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok, err := s.Kept("tree/1", in); !ok || err != nil || string(v) != "v" {
		t.Errorf("%q %v %v", v, ok, err)
	}
	for name, f := range map[string]func() (bool, error){
		"kind":  func() (bool, error) { _, ok, err := s.Kept("tree/2", in); return ok, err },
		"order": func() (bool, error) { _, ok, err := s.Kept("tree/1", []digest.Digest{in[1], in[0]}); return ok, err },
		"fewer": func() (bool, error) { _, ok, err := s.Kept("tree/1", in[:1]); return ok, err },
	} {
		if ok, err := f(); ok || err != nil {
			t.Errorf("other %s: %v %v", name, ok, err)
		}
	}
	for _, kind := range []string{"", "a\x00b", "a\nb"} {
		if err := s.Keep(kind, in, nil); err == nil {
			t.Errorf("kind %q is accepted", kind)
		}
	}
	if err := s.Keep("k", []digest.Digest{"sha256:x"}, nil); err == nil {
		t.Error("a malformed input digest is accepted")
	}
}

func TestKeptForged(t *testing.T) {
	in := []digest.Digest{digest.FromString("a")}
	name, _ := keptName("k", in)
	other, _ := keptName("k", []digest.Digest{digest.FromString("b")})
	for what, forge := range map[string]func(t *testing.T, s *Store, path string){
		"edit": func(t *testing.T, s *Store, path string) {
			raw, _ := os.ReadFile(path)
			raw[len(raw)-1] ^= 1
			replace(t, path, raw)
		},
		"truncate": func(t *testing.T, s *Store, path string) {
			raw, _ := os.ReadFile(path)
			replace(t, path, raw[:len(raw)-1])
		},
		"short": func(t *testing.T, s *Store, path string) { replace(t, path, []byte("x")) },
		"extend": func(t *testing.T, s *Store, path string) {
			raw, _ := os.ReadFile(path)
			replace(t, path, append(raw, 0))
		},
		"other-name": func(t *testing.T, s *Store, path string) {
			raw, _ := os.ReadFile(s.macPath("kept", other))
			replace(t, path, raw)
		},
		"other-purpose": func(t *testing.T, s *Store, path string) {
			if err := s.writeMAC("ref", name, []byte("v")); err != nil {
				t.Fatal(err)
			}
			raw, _ := os.ReadFile(s.macPath("ref", name))
			replace(t, path, raw)
		},
		"other-key": func(t *testing.T, s *Store, path string) {
			replace(t, filepath.Join(s.dir, "key"), make([]byte, keySize))
		},
		"link": func(t *testing.T, s *Store, path string) {
			os.Remove(path)
			if err := os.Symlink(s.macPath("kept", other), path); err != nil {
				t.Fatal(err)
			}
		},
		"fifo": func(t *testing.T, s *Store, path string) {
			os.Remove(path)
			if err := fifo(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := open(t)
			for _, d := range []string{"a", "b"} {
				if err := s.Keep("k", []digest.Digest{digest.FromString(d)}, []byte("v")); err != nil {
					t.Fatal(err)
				}
			}
			forge(t, s, s.macPath("kept", name))
			v, ok, err := s.Kept("k", in)
			if ok || v != nil {
				t.Error("a forged value is found")
			}
			wantCode(t, err, reason.KeptForged)
			if err := s.Keep("k", in, []byte("w")); err != nil {
				t.Fatal(err)
			}
			if v, ok, err := s.Kept("k", in); !ok || err != nil || string(v) != "w" {
				t.Errorf("keep does not repair: %q %v %v", v, ok, err)
			}
		})
	}
}

func replace(t *testing.T, path string, b []byte) {
	t.Helper()
	os.Remove(path)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRefs(t *testing.T) {
	s := open(t)
	for _, n := range []string{"b", "a", "docker.io/x:1 linux/amd64"} {
		if err := s.SetRef(n, []byte(n+"!")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetRef("b", []byte("2")); err != nil {
		t.Fatal(err)
	}
	record := s.macPath("ref", "b")
	was, err := os.Stat(record)
	if err == nil {
		err = s.SetRef("b", []byte("2"))
	}
	if is, bad := os.Stat(record); err != nil || bad != nil || !os.SameFile(was, is) {
		t.Errorf("what is there already is written again: %v, %v", err, bad)
	}
	if v, ok, err := s.Ref("b"); !ok || err != nil || string(v) != "2" {
		t.Errorf("%q %v %v", v, ok, err)
	}
	replace(t, filepath.Join(s.dir, "refs", "junk"), []byte(strings.Repeat("x", 40)+"\n"))
	if names, err := s.Refs(); err != nil || !slices.Equal(names, []string{"a", "b", "docker.io/x:1 linux/amd64"}) {
		t.Errorf("%v, %v", names, err)
	}
	if err := s.RemoveRef("a"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Ref("a"); ok || err != nil {
		t.Errorf("removed: %v %v", ok, err)
	}
	for _, n := range []string{"", "a\nb"} {
		if err := s.SetRef(n, nil); err == nil {
			t.Errorf("name %q is accepted", n)
		}
	}
}
