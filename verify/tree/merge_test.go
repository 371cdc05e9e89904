package tree

import (
	"archive/tar"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func TestMerge(t *testing.T) {
	base := layer(t, dir("d"), file("d/x", "x0"), file("d/y", "y0"), dir("d/sub"), file("d/sub/z", "z0"), symlink("l", "d"), file("f", "f0"))
	cases := []struct {
		name  string
		upper []Layer
		want  string
	}{
		{"nothing", nil, "d d, d d/sub, f d/sub/z, f d/x, f d/y, f f, l l"},
		{"whiteout", []Layer{layer(t, file("d/.wh.x", ""))}, "d d, d d/sub, f d/sub/z, f d/y, f f, l l"},
		{"whiteout-directory", []Layer{layer(t, file(".wh.d", ""))}, "f f, l l"},
		{"whiteout-absent", []Layer{layer(t, file("no/where/.wh.x", ""), file(".wh.nothing", ""))}, "d d, d d/sub, f d/sub/z, f d/x, f d/y, f f, l l"},
		{"whiteout-spares-own-layer", []Layer{layer(t, file("f", "f1"), file(".wh.f", ""))}, "d d, d d/sub, f d/sub/z, f d/x, f d/y, f f, l l"},
		{"opaque-first", []Layer{layer(t, file("d/.wh..wh..opq", ""), file("d/n", "n"))}, "d d, f d/n, f f, l l"},
		{"opaque-last", []Layer{layer(t, file("d/n", "n"), dir("d/sub"), file("d/.wh..wh..opq", ""))}, "d d, f d/n, d d/sub, f f, l l"},
		{"opaque-root", []Layer{layer(t, file(".wh..wh..opq", ""), file("only", ""))}, "f only"},
		{"opaque-twice", []Layer{layer(t, file("d/n", "n")), layer(t, file("d/.wh..wh..opq", ""))}, "d d, f f, l l"},
		{"file-over-directory", []Layer{layer(t, file("d", "now a file"))}, "f d, f f, l l"},
		{"directory-over-file", []Layer{layer(t, dir("f"), file("f/in", ""))}, "d d, d d/sub, f d/sub/z, f d/x, f d/y, d f, f f/in, l l"},
		{"directory-over-symlink", []Layer{layer(t, file("l/in", ""), dir("l"))}, "d d, d d/sub, f d/sub/z, f d/x, f d/y, f f, d l, f l/in"},
		{"whiteout-below-replaced-symlink", []Layer{layer(t, dir("l"), file("l/.wh.x", ""))}, "d d, d d/sub, f d/sub/z, f d/x, f d/y, f f, d l"},
		{"gone-and-back", []Layer{layer(t, file(".wh.d", "")), layer(t, file("d/new", ""))}, "d d, f d/new, f f, l l"},
		{"order", []Layer{layer(t, file(".wh..wh..opq", ""), file("a/b", ""), file("a-b", ""), file("a.b", ""), file("a0", ""))}, "d a, f a/b, f a-b, f a.b, f a0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tr := merged(t, append([]Layer{base}, c.upper...)...)
			if got := paths(tr); got != c.want {
				t.Errorf("paths %s\nwant  %s", got, c.want)
			}
			for e := range tr.Entries() {
				if got, ok := tr.Lookup(e.Path); !ok || got.Path != e.Path {
					t.Errorf("%s is not found", e.Path)
				}
			}
		})
	}
}

func TestMergeMetadata(t *testing.T) {
	low := layer(t, member{name: "d/", typ: tar.TypeDir, mode: 0o755, uid: 1}, file("d/x", "x"), file("f", "old"))
	up := layer(t, member{name: "d/", typ: tar.TypeDir, mode: 0o700, uid: 2}, file("f", "new"), file("p/q/r", ""))
	tr := merged(t, low, up)
	if e, _ := tr.Lookup("d"); e.Mode != 0o700 || e.UID != 2 {
		t.Errorf("d is %+v, want the upper layer's", e)
	}
	if e, _ := tr.Lookup("f"); e.Digest != digest.FromString("new") || e.Blob != up.DiffID() {
		t.Errorf("f is %+v, want the upper layer's", e)
	}
	if e, _ := tr.Lookup("p/q"); e.Mode != 0o755 || e.UID != 0 || e.MTime != 0 {
		t.Errorf("p/q is %+v", e)
	}
}

// TestMergeHardlink holds each link to the bytes that its target had when the
// link was made, whatever becomes of the target.
func TestMergeHardlink(t *testing.T) {
	low := layer(t, member{name: "a", body: "one", mode: 0o4755, uid: 5})
	up := layer(t, hard("b", "a"), file(".wh.a", "")) // the whiteout comes first
	if _, err := Merge([]Layer{low, up}); err == nil {
		t.Error("a link to a file that this layer hides is accepted")
	}
	tr := merged(t, low, layer(t, hard("b", "a"), file("a", "two")), layer(t, file(".wh.a", "")))
	e, _ := tr.Lookup("b")
	if e.Digest != digest.FromString("one") || e.Blob != low.DiffID() || e.Mode != 0o4755 || e.UID != 5 || !e.HardLink {
		t.Errorf("b is %+v", e)
	}
	if got := paths(tr); got != "f b" {
		t.Errorf("paths %s", got)
	}
}

func TestMergeRefuses(t *testing.T) {
	base := layer(t, symlink("lib", "usr/lib"), dir("usr/lib"), file("usr/lib/x", ""), file("f", ""), member{name: "p", typ: tar.TypeFifo})
	cases := []struct {
		name  string
		code  reason.Code
		upper Layer
	}{
		{"symlink-parent", reason.LayerSymlinkParent, layer(t, file("lib/evil", ""))},
		{"symlink-parent-deep", reason.LayerSymlinkParent, layer(t, file("lib/a/b/c", ""))},
		{"symlink-parent-whiteout", reason.LayerSymlinkParent, layer(t, file("lib/.wh.x", ""))},
		{"symlink-parent-opaque", reason.LayerSymlinkParent, layer(t, file("lib/.wh..wh..opq", ""))},
		{"file-parent", reason.LayerParent, layer(t, file("f/x", ""))},
		{"fifo-parent", reason.LayerParent, layer(t, file("p/x", ""))},
		{"hardlink-missing", reason.TarHardlink, layer(t, hard("a", "nowhere"))},
		{"hardlink-symlink", reason.TarHardlink, layer(t, hard("a", "lib"))},
		{"hardlink-through-symlink", reason.TarHardlink, layer(t, hard("a", "lib/x"))},
		{"hardlink-directory", reason.TarHardlink, layer(t, hard("a", "usr"))},
		{"hardlink-root", reason.TarHardlink, layer(t, hard("a", "."))},
		{"hardlink-self", reason.TarHardlink, layer(t, hard("a", "a"))},
		{"hardlink-later", reason.TarHardlink, layer(t, hard("a", "b"), file("b", ""))},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Merge([]Layer{base, c.upper})
			wantCode(t, err, c.code)
		})
	}
}

func TestZero(t *testing.T) {
	_, err := Merge([]Layer{{}})
	wantCode(t, err, reason.TreeZero)
	var z Tree
	if !z.Zero() || z.Digest() != "" || z.Len() != 0 || z.Encode() != nil {
		t.Error("the zero tree looks like one")
	}
	_, err = z.Skeleton()
	if e, ok := reason.Of(err); !ok || e.Code != reason.TreeZero {
		t.Errorf("the zero tree gets a skeleton: %v", err)
	}
	if _, ok := z.Lookup("."); ok {
		t.Error("the zero tree has a root")
	}
	if _, err := z.Resolve("/"); err == nil {
		t.Error("the zero tree resolves /")
	}
	if _, err := Decode(nil); err == nil {
		t.Error("nothing decodes")
	}
}
