package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func sample(t testing.TB) Tree {
	low := layer(t,
		member{name: "a b%/", typ: tar.TypeDir, mode: 0o1777, uid: 3},
		member{name: "a b%/\u00fc=\n", body: "hello", mode: 0o4755, time: 1700000000, pax: map[string]string{
			"SCHILY.xattr.user.k v": "\x00\xff=%", "SCHILY.xattr.user.b": "1"}},
		symlink("z", "../a b"), member{name: "p", typ: tar.TypeFifo, mode: 0o600, time: -5})
	tr, err := merged(t, low, layer(t, hard("h", "a b%/\u00fc=\n"), file("other", "x"))).Skeleton()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestText fixes the canonical text: a digest that changes makes every lock and
// every record of a Tree stale.
func TestText(t *testing.T) {
	tr := sample(t)
	const sum = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	const nothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	const x = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	const attrs = " xattr:user.b=1 xattr:user.k%20v=%00%FF=%25"
	want := "ztlaunch tree 1 17\n" +
		"d 0755 0 0 0 .\n" +
		"d 1777 3 0 0 a%20b%25\n" +
		"f 4755 0 0 1700000000 a%20b%25/\u00fc=%0A 5 " + sum + attrs + "\n" +
		"d 0755 0 0 0 dev origin=ztlaunch\n" +
		"d 0755 0 0 0 etc origin=ztlaunch\n" +
		"f 0644 0 0 0 etc/hostname 0 " + nothing + " origin=ztlaunch\n" +
		"f 0644 0 0 0 etc/hosts 0 " + nothing + " origin=ztlaunch\n" +
		"l 0777 0 0 0 etc/mtab /proc/mounts origin=ztlaunch\n" +
		"f 0644 0 0 0 etc/resolv.conf 0 " + nothing + " origin=ztlaunch\n" +
		"f 4755 0 0 1700000000 h 5 " + sum + " hardlink" + attrs + "\n" +
		"f 0644 0 0 0 other 1 " + x + "\n" +
		"p 0600 0 0 -5 p\n" +
		"d 0755 0 0 0 proc origin=ztlaunch\n" +
		"d 0755 0 0 0 run origin=ztlaunch\n" +
		"d 0755 0 0 0 sys origin=ztlaunch\n" +
		"d 1777 0 0 0 tmp origin=ztlaunch\n" +
		"l 0777 0 0 0 z ../a%20b\n"
	got := string(tr.Encode())
	if !strings.HasPrefix(got, "tree "+string(tr.Digest())+"\n"+want+"blobs 2\n") {
		t.Errorf("text\n%swant\n%s", got, want)
	}
	if tr.Digest() != "sha256:8ff3201be4d2e967665b307ec8652f3d6c7a09f5ee0b45c268a8d8c0dd8cd571" {
		t.Errorf("digest %s", tr.Digest())
	}
}

func TestDecode(t *testing.T) {
	tr := sample(t)
	got, err := Decode(tr.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != tr.Digest() || got.Size() != tr.Size() || got.Len() != tr.Len() {
		t.Errorf("digest %s, size %d, len %d; want %s, %d, %d", got.Digest(), got.Size(), got.Len(), tr.Digest(), tr.Size(), tr.Len())
	}
	for e := range tr.Entries() {
		g, ok := got.Lookup(e.Path)
		if !ok || fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", e) {
			t.Errorf("%+v\nwant %+v", g, e)
		}
	}
}

// signed gives a text the digest that it ought to begin with, so that it is refused
// for what is wrong with it.
func signed(text string) []byte {
	canonical := text[:strings.LastIndex(text, "\nblobs ")+1]
	return []byte("tree " + string(digest.FromString(canonical)) + "\n" + text)
}

// unsigned is an encoded Tree without its digest.
func unsigned(t Tree) string {
	_, text, _ := strings.Cut(string(t.Encode()), "\n")
	return text
}

func TestDecodeRefuses(t *testing.T) {
	text := unsigned(sample(t))
	cases := []struct{ name, from, to string }{
		{"header", "ztlaunch tree 1", "ztlaunch tree 2"},
		{"count-low", "tree 1 17", "tree 1 16"},
		{"count-high", "tree 1 17", "tree 1 18"},
		{"count-huge", "tree 1 17", "tree 1 9223372036854775807"},
		{"root", "d 0755 0 0 0 .\n", "f 0755 0 0 0 .\n"},
		{"type", "p 0600", "c 0600"},
		{"mode", "p 0600", "p 0680"},
		{"mode-short", "p 0600", "p 600"},
		{"mode-symlink", "l 0777", "l 0755"},
		{"uid-range", "d 1777 3", "d 1777 65536"},
		{"uid-zeros", "d 1777 3", "d 1777 03"},
		{"time-plus", "1700000000", "+1700000000"},
		{"time-minus-zero", "0 0 0 other", "0 0 -0 other"},
		{"path-absolute", " other", " /other"},
		{"path-dotdot", " other", " .."},
		{"path-empty-component", "a%20b%25/", "a%20b%25//"},
		{"path-order", " other", " aaa"},
		{"path-twice", " other", " h"},
		{"path-orphan", " other", " n/other"},
		{"path-below-file", " other", " h/other"},
		{"escape-needless", " other", " %6Fther"},
		{"escape-lower", "%0A", "%0a"},
		{"escape-cut", " other", " other%2"},
		{"escape-missing", "%00%FF", "%00\xff"},
		{"size", " 1 sha256:2d", " -1 sha256:2d"},
		{"size-zero", " 1 sha256:2d", " 0 sha256:2d"},
		{"size-of-nothing", " 0 sha256:e3", " 1 sha256:e3"},
		{"digest-algorithm", "sha256:2d", "sha512:2d"},
		{"digest-case", "sha256:2d", "sha256:2D"},
		{"digest-short", "4881\n", "488\n"},
		{"target-missing", "z ../a%20b", "z"},
		{"hardlink-order", "hardlink xattr:user.b=1", "xattr:user.b=1 hardlink"},
		{"hardlink-directory", "proc origin", "proc hardlink origin"},
		{"origin", "proc origin=ztlaunch", "proc origin=elsewhere"},
		{"xattr-name", "xattr:user.b=1", "xattr:trusted.b=1"},
		{"xattr-overlay", "xattr:user.b=1", "xattr:user.overlay.b=1"},
		{"xattr-order", "xattr:user.b=1", "xattr:user.zz=1"},
		{"space-double", "p 0600 ", "p 0600  "},
		{"space-end", "proc origin=ztlaunch\n", "proc origin=ztlaunch \n"},
		{"field-unknown", "proc origin=ztlaunch\n", "proc origin=ztlaunch more\n"},
		{"blob-count", "blobs 2", "blobs 1"},
		{"blob-order", "\n0 2048\n", "\n1 2048\n"},
		{"end", "", ""},
		{"behind", "", "x"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bad := strings.Replace(text, c.from, c.to, 1)
			switch c.name {
			case "end":
				bad = text[:len(text)-1]
			case "behind":
				bad = text + c.to
			}
			if bad == text {
				t.Fatal("nothing is wrong")
			}
			_, err := Decode(signed(bad))
			wantCode(t, err, reason.TreeMalformed)
			if strings.Contains(err.Error(), "the digest is sha256") {
				t.Errorf("refused for its digest alone: %v", err)
			}
		})
	}
	for i := range len(text) {
		if _, err := Decode(signed(text[:i])); err == nil {
			t.Fatalf("cut at %d: accepted", i)
		}
	}
	for name, bad := range map[string]string{
		"no digest": text, "no sha256": "tree sha512:00\n" + text, "nothing": "",
		"another digest": "tree " + string(empty) + "\n" + text,
	} {
		if _, err := Decode([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestDecodeTimes reads the times at both ends, as Scan may have found them.
func TestDecodeTimes(t *testing.T) {
	for _, time := range []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64} {
		text := strings.Replace(unsigned(sample(t)), " -5 p\n", fmt.Sprintf(" %d p\n", time), 1)
		got, err := Decode(signed(text))
		if err != nil {
			t.Fatal(err)
		}
		if e, _ := got.Lookup("p"); e.MTime != time {
			t.Errorf("%d is %d", time, e.MTime)
		}
	}
}

// TestOpen has the same entries as Decode, and none of a text that Decode refuses.
func TestOpen(t *testing.T) {
	tr := sample(t)
	got, err := Open(tr.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if got.Zero() || got.Digest() != tr.Digest() || got.Len() != tr.Len() {
		t.Errorf("digest %s, len %d; want %s, %d", got.Digest(), got.Len(), tr.Digest(), tr.Len())
	}
	if a, b := slices.Collect(got.Entries()), slices.Collect(tr.Entries()); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v\nwant %+v", a, b)
	}
	_, err = Open([]byte("tree\n"))
	wantCode(t, err, reason.TreeMalformed)
	if err := errors.Join(got.Wait(), tr.Wait()); err != nil {
		t.Error(err)
	}
	bad, err := Open([]byte(strings.Replace(string(tr.Encode()), "p 0600", "p 0601", 1)))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, bad.Wait(), reason.TreeMalformed)
	defer func() {
		err, _ := recover().(error)
		wantCode(t, err, reason.TreeMalformed)
	}()
	e, _ := bad.Lookup("p")
	t.Errorf("found %+v", e)
}

func FuzzDecode(f *testing.F) {
	f.Add(unsigned(sample(f)))
	f.Add("ztlaunch tree 1 1\nd 0755 0 0 0 .\nblobs 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		raw := signed(text)
		tr, err := Decode(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(tr.Encode(), raw) {
			t.Fatalf("encodes as %q", tr.Encode())
		}
		if s := seal(slices.Collect(tr.Entries())); s.Digest() != tr.Digest() {
			t.Fatalf("digest %s, want %s", tr.Digest(), s.Digest())
		}
	})
}

func big(b *testing.B) Tree {
	var ms []member
	for d := range 100 {
		ms = append(ms, dir(fmt.Sprintf("usr/share/package%03d", d)))
		for f := range 99 {
			ms = append(ms, file(fmt.Sprintf("usr/share/package%03d/some-file-%04d.txt", d, f), "content"))
		}
	}
	return merged(b, layer(b, ms...))
}

func BenchmarkDecode10k(b *testing.B) {
	raw := big(b).Encode()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode10k(b *testing.B) {
	tr := big(b)
	for b.Loop() {
		tr.Encode()
	}
}
