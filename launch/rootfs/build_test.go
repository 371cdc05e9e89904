package rootfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// built is the image of t in a file.
func built(t testing.TB, tr tree.Tree, src Source) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "root.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(f)
	size, err := Build(context.Background(), tr, src, f, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Fatalf("size %d, file %v, %v", size, info, err)
	}
	return f.Name()
}

// TestBuild fixes the image's bytes: kept seals and receipts name its digest, so a
// change needs a new Version.
func TestBuild(t *testing.T) {
	tr, src := spooled(t, sample(), []member{file("etc/late", "second layer")})
	raw, err := os.ReadFile(built(t, tr, src))
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(built(t, tr, src))
	if err != nil || !bytes.Equal(raw, again) {
		t.Fatalf("the second image differs: %v", err)
	}
	const want = "sha256:120922973a546c4270f35b50832c7db70dcf0223dc0677f03c32da13a09c4647"
	if got := digest.FromBytes(raw); got != want {
		t.Errorf("image %s, want %s: a new Version?", got, want)
	}
}

func TestBuildFsck(t *testing.T) {
	fsck, err := exec.LookPath("fsck.erofs")
	if err != nil {
		if os.Getenv("ZTLAUNCH_E2E") == "require" {
			t.Fatal("ZTLAUNCH_E2E=require: needs fsck.erofs (erofs-utils)")
		}
		t.Skip("ZTLAUNCH_E2E: needs fsck.erofs")
	}
	tr, src := spooled(t, sample())
	out := filepath.Join(t.TempDir(), "out")
	if msg, err := exec.Command(fsck, "--extract="+out, built(t, tr, src)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	for e := range tr.Entries() {
		if e.Type != tree.File {
			continue
		}
		if raw, err := os.ReadFile(filepath.Join(out, e.Path)); err != nil || digest.FromBytes(raw) != e.Digest {
			t.Errorf("%s: %v", e.Path, err)
		}
	}
}

// memory is a Source of one file's bytes for all.
type memory string

func (m memory) Open(tree.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(m))), nil
}

type broken struct{ err error }

func (b broken) Open(tree.Entry) (io.ReadCloser, error) { return nil, b.err }

func TestBuildRefuses(t *testing.T) {
	big := strings.Repeat("z", 1<<20)
	one := func(content string) tree.Tree {
		tr, err := tree.FromFiles([]tree.Entry{{Path: "a", Type: tree.File, Size: int64(len(content)), Digest: digest.FromString(content)}})
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	gone := errors.New("gone")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	cases := []struct {
		name string
		tr   tree.Tree
		src  Source
		lim  Limits
		code reason.Code
	}{
		{"flipped", one("good"), memory("goof"), Limits{}, reason.DigestMismatchFile},
		{"flipped-large", one(big), memory("y" + big[1:]), Limits{}, reason.DigestMismatchFile},
		{"short", one("good"), memory("goo"), Limits{}, reason.DigestMismatchFile},
		{"size", one(big), memory(big), Limits{Size: 1<<20 - 1}, reason.SealTooLarge},
		{"size-with-metadata", one(big), memory(big), Limits{Size: 1<<20 + 1}, reason.SealTooLarge},
		{"zero", tree.Tree{}, memory(""), Limits{}, reason.TreeZero},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(f)
			_, err = Build(context.Background(), c.tr, c.src, f, c.lim)
			wantCode(t, err, c.code)
			raw, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(raw, []byte("goof")) {
				t.Error("wrong bytes were written")
			}
		})
	}
	if _, err := Build(context.Background(), one("x"), broken{gone}, io.NewOffsetWriter(nil, 0), Limits{}); !errors.Is(err, gone) {
		t.Errorf("the source's error is lost: %v", err)
	}
	if _, err := Build(cancelled, one("x"), memory("x"), io.NewOffsetWriter(nil, 0), Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("not cancelled: %v", err)
	}
}

func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := NewSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	raw := archive(t, []member{file("a", "bytes")})
	id := digest.FromBytes(raw)
	e := tree.Entry{Path: "a", Type: tree.File, Size: 5, Blob: id, Offset: 512}
	_, err = s.Open(e)
	wantCode(t, err, reason.SpoolMissing)

	wantCode(t, s.Fill(bytes.NewReader(raw[1:]), id), reason.DigestMismatchDiffID)
	_, err = s.Scan(bytes.NewReader(raw[1:]), id, tree.Limits{})
	wantCode(t, err, reason.DigestMismatchDiffID)
	if s.Has(id) {
		t.Fatal("refused bytes are kept")
	}
	if err := s.Fill(bytes.NewReader(raw), id); err != nil {
		t.Fatal(err)
	}
	read := func() {
		t.Helper()
		r, err := s.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != "bytes" {
			t.Fatalf("read %q, %v", got, err)
		}
	}
	read()
	f, err := os.CreateTemp(t.TempDir(), "layer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(raw); err != nil {
		t.Fatal(err)
	}
	s.Use(id, f)
	read()
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the spool has names: %v, %v", names, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the spool is %v, %v", info.Mode(), err)
	}
}

// TestFolder keeps a model's source inside its folder.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	for _, err := range []error{
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(dir, "model"), []byte("model"), 0o600),
		os.Symlink(secret, filepath.Join(dir, "absolute")),
		os.Symlink("../secret", filepath.Join(dir, "up")),
		os.Symlink(filepath.Dir(secret), filepath.Join(dir, "out")),
		os.Mkdir(filepath.Join(dir, "dir"), 0o700),
		exec.Command("mkfifo", filepath.Join(dir, "fifo")).Run(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	src, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	for _, p := range []string{"absolute", "up", "out/secret", "dir", "fifo", "../" + filepath.Base(filepath.Dir(secret)) + "/secret", "absent"} {
		if _, err := src.Open(tree.Entry{Path: p}); err == nil {
			t.Errorf("%s opens", p)
		}
	}
	tr, err := tree.FromFiles([]tree.Entry{{Path: "model", Type: tree.File, Mode: 0o644, Size: 5, Digest: digest.FromString("model")}})
	if err != nil {
		t.Fatal(err)
	}
	built(t, tr, src)
}
