package tree

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// member is one entry of a tar that a test writes.
type member struct {
	name string
	typ  byte // 0 is a file, or a directory where the name ends in a slash
	body string
	link string
	mode int64
	uid  int
	pax  map[string]string
	dev  [2]int64
	time int64
}

func dir(name string) member        { return member{name: name + "/", typ: tar.TypeDir, mode: 0o755} }
func file(name, body string) member { return member{name: name, body: body, mode: 0o644} }
func symlink(name, target string) member {
	return member{name: name, typ: tar.TypeSymlink, link: target}
}
func hard(name, target string) member { return member{name: name, typ: tar.TypeLink, link: target} }

// archive writes a tar.
func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.typ, Linkname: m.link, Mode: m.mode, Uid: m.uid,
			Size: int64(len(m.body)), PAXRecords: m.pax, Devmajor: m.dev[0], Devminor: m.dev[1], ModTime: time.Unix(m.time, 0)}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: m.pax}
		}
		if err := w.WriteHeader(h); err != nil {
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

// scanned is Scan under the stream's own digest.
func scanned(raw []byte) (Layer, error) {
	return Scan(bytes.NewReader(raw), digest.FromBytes(raw), Limits{})
}

func layer(t testing.TB, members ...member) Layer {
	t.Helper()
	l, err := scanned(archive(t, members...))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func merged(t testing.TB, layers ...Layer) Tree {
	t.Helper()
	tr, err := Merge(layers)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// paths is the tree's paths with a letter for the type, without the root.
func paths(tr Tree) string {
	var s []string
	for e := range tr.Entries() {
		if e.Path != "." {
			s = append(s, string(e.Type)+" "+e.Path)
		}
	}
	return strings.Join(s, ", ")
}

func wantCode(t testing.TB, err error, code reason.Code) {
	t.Helper()
	e, ok := reason.Of(err)
	if !ok || e.Code != code {
		t.Fatalf("error %v, want %s", err, code)
	}
	if e.Found == "" {
		t.Errorf("%v does not say what was found", err)
	}
}
