package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// needRoot skips a test that mounts when nobody may, and fails it where that is not
// acceptable. It also watches that the test leaves no mount behind.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("ZTLAUNCH_E2E") == "require" {
			t.Fatal("ZTLAUNCH_E2E=require: needs root")
		}
		t.Skip("ZTLAUNCH_E2E: needs root")
	}
	t.Cleanup(func() {
		// Other programs mount and unmount meanwhile: look at what bears the test's name.
		own := filepath.Join(os.TempDir(), strings.SplitN(t.Name(), "/", 2)[0])
		for line := range strings.Lines(mounts(t)) {
			if strings.Contains(line, " "+own) {
				t.Errorf("left behind: %s", line)
			}
		}
	})
}

func mounts(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func wantCode(t testing.TB, err error, code reason.Code) {
	t.Helper()
	if e, ok := reason.Of(err); !ok || e.Code != code {
		t.Fatalf("error %v, want %s", err, code)
	}
}

// member is one entry of a test's layer.
type member struct {
	tar.Header
	body string
}

func file(name, body string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(1700000000, 0)}, body}
}

// sample is a layer with one of each thing that a Tree can hold.
func sample() []member {
	ms := []member{
		{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o751, Uid: 3, Gid: 4}, ""},
		{tar.Header{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin"}, ""},
		{tar.Header{Name: "long", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x/", 2000)}, ""},
		{tar.Header{Name: "usr/bin/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		{tar.Header{Name: "usr/bin/su", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 1, Gid: 65535, ModTime: time.Unix(1, 0)}, strings.Repeat("su", 5000)},
		{tar.Header{Name: "usr/bin/su2", Typeflag: tar.TypeLink, Linkname: "usr/bin/su"}, ""},
		{tar.Header{Name: "var/tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, ""},
		{tar.Header{Name: "var/fifo", Typeflag: tar.TypeFifo, Mode: 0o600, ModTime: time.Unix(-7, 0)}, ""},
		{tar.Header{Name: "etc/attrs", Typeflag: tar.TypeReg, Mode: 0o600, PAXRecords: map[string]string{
			"SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": "\x00\xff", "SCHILY.xattr.user.big": strings.Repeat("v", 9000)}}, "x"},
		file("etc/empty", ""),
		file("etc/\u00fc \n%", "named"),
	}
	for i := range 300 { // a directory of several blocks, files of every tail length
		ms = append(ms, file(fmt.Sprintf("many/a-rather-long-name-%03d", i), strings.Repeat("y", i*37)))
	}
	return ms
}

func archive(t testing.TB, ms []member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range ms {
		m.Size = int64(len(m.body))
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// spooled is a Tree and the spool that holds its bytes.
func spooled(t testing.TB, layers ...[]member) (tree.Tree, *Spool) {
	t.Helper()
	s, err := NewSpool(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var ls []tree.Layer
	for _, ms := range layers {
		raw := archive(t, ms)
		l, err := s.Scan(bytes.NewReader(raw), digest.FromBytes(raw), tree.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		ls = append(ls, l)
	}
	tr, err := tree.Merge(ls)
	if err != nil {
		t.Fatal(err)
	}
	if tr, err = tr.Skeleton(); err != nil {
		t.Fatal(err)
	}
	return tr, s
}

var forms = []Form{InRAMFS, InLoop, Extracted}

func sealed(t testing.TB, tr tree.Tree, src Source) *Sealed { return sealedAs(t, InRAMFS, tr, src) }

func sealedAs(t testing.TB, form Form, tr tree.Tree, src Source) *Sealed {
	t.Helper()
	s, err := Seal(context.Background(), form, tr, tr.Digest(), src, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// inPrivate runs f on a thread with a mount namespace of its own.
func inPrivate(t testing.TB, f func() error) {
	t.Helper()
	if err := Private(f); err != nil {
		t.Fatal(err)
	}
}
