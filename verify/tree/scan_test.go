package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func TestScan(t *testing.T) {
	raw := archive(t,
		member{name: "./", typ: tar.TypeDir, mode: 0o750, uid: 7},
		dir("./etc"),
		member{name: "./etc//passwd", body: "root\n", mode: 0o4755, uid: 12, time: -3, pax: map[string]string{
			"SCHILY.xattr.user.note": "a\x00b", "SCHILY.xattr.security.capability": "x", "SCHILY.xattr.trusted.md5sum": "y"}},
		symlink("bin", "usr/bin"),
		hard("etc/passwd-", "./etc/passwd"),
		member{name: "fifo", typ: tar.TypeFifo, mode: 0o600},
		member{name: "dev/null", typ: tar.TypeChar, dev: [2]int64{1, 3}},
		member{name: "dev/loop0", typ: tar.TypeBlock, dev: [2]int64{7, 0}},
		member{typ: tar.TypeXGlobalHeader, pax: map[string]string{"comment": "made by git"}},
		file("./.where", ""),
	)
	l, err := scanned(raw)
	if err != nil {
		t.Fatal(err)
	}
	if l.Size() != int64(len(raw)) || l.DiffID() != digest.FromBytes(raw) {
		t.Errorf("size %d of %d, diffID %s", l.Size(), len(raw), l.DiffID())
	}
	tr := merged(t, l)
	if got, want := paths(tr), "f .where, l bin, d etc, f etc/passwd, f etc/passwd-, p fifo"; got != want {
		t.Errorf("paths %s\nwant  %s", got, want)
	}
	root, _ := tr.Lookup("/")
	if root.Mode != 0o750 || root.UID != 7 {
		t.Errorf("root %+v", root)
	}
	e, _ := tr.Lookup("etc/passwd")
	if e.Mode != 0o4755 || e.UID != 12 || e.MTime != -3 || e.Size != 5 || e.Digest != digest.FromString("root\n") {
		t.Errorf("passwd %+v", e)
	}
	if len(e.Xattrs) != 1 || e.Xattrs["user.note"] != "a\x00b" {
		t.Errorf("attributes %q", e.Xattrs)
	}
	if got := raw[e.Offset : e.Offset+e.Size]; string(got) != "root\n" || e.Blob != l.DiffID() {
		t.Errorf("at %d of %s lies %q", e.Offset, e.Blob, got)
	}
	h, _ := tr.Lookup("etc/passwd-")
	if !h.HardLink || h.Digest != e.Digest || h.Offset != e.Offset || h.Mode != e.Mode || h.UID != 12 {
		t.Errorf("hard link %+v", h)
	}
}

func TestScanRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	deep := strings.Repeat("abcdefg/", 512)
	good := archive(t, file("a", "body"))
	sparse := func(records ...string) []byte { // tar.Writer will not write such keys itself
		pax := map[string]string{}
		for i := 0; i < len(records); i += 2 {
			pax["XYZ.sparse."+records[i]] = records[i+1]
		}
		raw := archive(t, member{name: "s", body: "12345678", mode: 0o644, pax: pax})
		return bytes.ReplaceAll(raw, []byte("XYZ"), []byte("GNU"))
	}
	xattr := func(k, v string) member {
		return member{name: "x", mode: 0o644, pax: map[string]string{"SCHILY.xattr." + k: v}}
	}
	cases := []struct {
		name string
		code reason.Code
		raw  []byte
	}{
		{"dotdot", reason.TarPath, archive(t, file("a/../../b", ""))},
		{"dotdot-inside", reason.TarPath, archive(t, file("a/../b", ""))},
		{"absolute", reason.TarPath, archive(t, file("/etc/passwd", ""))},
		{"file-as-directory", reason.TarPath, patch(archive(t, file("aa", "x")), "aa", "a/")},
		{"file-as-root", reason.TarPath, archive(t, file("./.", ""))},
		{"latin1", reason.TarNameEncoding, patch(archive(t, file("caf_", "")), "caf_", "caf\xe9")},
		{"latin1-target", reason.TarPath, patch(archive(t, symlink("a", "caf_")), "caf_", "caf\xe9")},
		{"long-name", reason.TarNameLength, archive(t, file(long, ""))},
		{"long-path", reason.TarNameLength, archive(t, file(deep+"x", ""))},
		{"sparse-pax", reason.TarSparse, sparse("name", "s")},
		{"sparse-pax-map", reason.TarSparse, sparse("map", "0,8", "size", "8", "numblocks", "1")},
		{"sparse-gnu", reason.TarSparse, retype(archive(t, file("s", "")), 'S')},
		{"uid", reason.TarIDRange, archive(t, member{name: "a", uid: 65536})},
		{"uid-huge", reason.TarIDRange, archive(t, member{name: "a", uid: 1 << 32})},
		{"uid-negative", reason.TarIDRange, gnuUID(archive(t, file("a", "")))},
		{"device", reason.TarDevice, archive(t, member{name: "null", typ: tar.TypeChar, dev: [2]int64{1, 3}})},
		{"device-block", reason.TarDevice, archive(t, member{name: "x/dev/sda", typ: tar.TypeBlock, dev: [2]int64{8, 0}})},
		{"device-whiteout", reason.TarDevice, archive(t, member{name: "dev/gone", typ: tar.TypeChar})},
		{"type", reason.TarType, retype(archive(t, file("a", "")), '7')},
		{"global", reason.TarType, archive(t, member{typ: tar.TypeXGlobalHeader, pax: map[string]string{"path": "etc/passwd"}})},
		{"overlay-xattr", reason.TarXattr, archive(t, xattr("trusted.overlay.opaque", "y"))},
		{"overlay-xattr-user", reason.TarXattr, archive(t, xattr("user.overlay.redirect", "/etc"))},
		{"xattr-size", reason.TarXattr, archive(t, xattr("user.big", strings.Repeat("v", maxXattrs)))},
		{"whiteout-bare", reason.TarWhiteout, archive(t, file("a/.wh.", ""))},
		{"whiteout-dot", reason.TarWhiteout, archive(t, file("a/.wh..", ""))},
		{"whiteout-dotdot", reason.TarWhiteout, archive(t, file("a/.wh...", ""))},
		{"whiteout-meta", reason.TarWhiteout, archive(t, file(".wh..wh.plnk", ""))},
		{"whiteout-full", reason.TarWhiteout, archive(t, file(".wh.a", "bytes"))},
		{"whiteout-symlink", reason.TarWhiteout, archive(t, symlink(".wh.a", "b"))},
		{"whiteout-parent", reason.TarWhiteout, archive(t, file("x/.wh.a/b", ""))},
		{"hardlink-symlink", reason.TarHardlink, archive(t, symlink("a", "/etc/passwd"), hard("b", "a"))},
		{"hardlink-directory", reason.TarHardlink, archive(t, dir("a"), hard("b", "a"))},
		{"hardlink-outside", reason.TarHardlink, archive(t, hard("b", "../../etc/shadow"))},
		{"hardlink-absolute", reason.TarHardlink, archive(t, hard("b", "/etc/shadow"))},
		{"duplicate", reason.TarDuplicate, archive(t, file("a", "1"), file("a", "2"))},
		{"duplicate-mode", reason.TarDuplicate, archive(t, file("a", "1"), member{name: "./a", body: "1", mode: 0o4755})},
		{"duplicate-type", reason.TarDuplicate, archive(t, dir("a"), symlink("a", "b"))},
		{"duplicate-link", reason.TarDuplicate, archive(t, file("a", "1"), file("b", "1"), hard("c", "a"), hard("c", "b"))},
		{"write-through", reason.TarParent, archive(t, symlink("a", "/etc"), file("a/passwd", "x"))},
		{"write-through-late", reason.TarParent, archive(t, file("a/b/passwd", "x"), symlink("a", "/etc"))},
		{"below-file", reason.TarParent, archive(t, file("a", ""), dir("a/b/c"))},
		{"malformed", reason.TarMalformed, append([]byte("not a tar at all"), make([]byte, 1024)...)},
		{"truncated-header", reason.TarMalformed, good[:100]},
		{"truncated-body", reason.TarMalformed, good[:514]},
		{"trailing", reason.TarTrailing, append(bytes.Clone(good), archive(t, file("hidden", "x"))...)},
		{"trailing-byte", reason.TarTrailing, append(bytes.Clone(good), 0, 0, 1)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := scanned(c.raw)
			wantCode(t, err, c.code)
			// With the wrong digest, that is what comes first.
			_, err = Scan(bytes.NewReader(c.raw), digest.FromString("other"), Limits{})
			wantCode(t, err, reason.DigestMismatchDiffID)
		})
	}
	t.Run("diffid", func(t *testing.T) {
		for i := 0; i < len(good); i += 17 {
			bad := bytes.Clone(good)
			bad[i] ^= 1
			if _, err := Scan(bytes.NewReader(bad), digest.FromBytes(good), Limits{}); err == nil {
				t.Fatalf("byte %d flipped: accepted", i)
			} else if e, ok := reason.Of(err); !ok || e.Code != reason.DigestMismatchDiffID {
				t.Fatalf("byte %d flipped: %v", i, err)
			}
		}
	})
	limits := []struct {
		name string
		lim  Limits
		raw  []byte
	}{
		{"entries", Limits{Entries: 2}, archive(t, file("a", ""), file("b", ""), file("c", ""))},
		{"bytes", Limits{Bytes: int64(len(good)) - 1}, good},
		{"names", Limits{Text: 10}, archive(t, file("0123456789a", ""))},
	}
	for _, c := range limits {
		t.Run(c.name, func(t *testing.T) {
			_, err := Scan(bytes.NewReader(c.raw), digest.FromBytes(c.raw), c.lim)
			wantCode(t, err, reason.TarLimit)
		})
	}
}

// patch replaces text in the first header and mends its checksum.
func patch(raw []byte, from, to string) []byte {
	i := bytes.Index(raw, []byte(from))
	copy(raw[i:], to)
	return resum(raw)
}

// retype gives the first header another type.
func retype(raw []byte, typ byte) []byte {
	raw[156] = typ
	copy(raw[257:], "ustar  \x00") // GNU
	return resum(raw)
}

// gnuUID makes the first header's owner -1, in base 256.
func gnuUID(raw []byte) []byte {
	copy(raw[108:116], "\xff\xff\xff\xff\xff\xff\xff\xff")
	copy(raw[257:], "ustar  \x00")
	return resum(raw)
}

func resum(raw []byte) []byte {
	copy(raw[148:156], "        ")
	sum := 0
	for _, c := range raw[:512] {
		sum += int(c)
	}
	const octal = "01234567"
	for i := range 6 {
		raw[148+i] = octal[sum>>(3*(5-i))&7]
	}
	raw[154], raw[155] = 0, ' '
	return raw
}

func TestScanSameTwice(t *testing.T) {
	tr := merged(t, layer(t,
		member{name: "a/", typ: tar.TypeDir, mode: 0o700}, file("a/b", "x"), file("a/b", "x"),
		member{name: "a/", typ: tar.TypeDir, mode: 0o755}, hard("a/c", "a/b"), hard("a/c", "a/b")))
	if got, want := paths(tr), "d a, f a/b, f a/c"; got != want {
		t.Errorf("paths %s, want %s", got, want)
	}
	if e, _ := tr.Lookup("a"); e.Mode != 0o755 {
		t.Errorf("mode %o, want the last one's", e.Mode)
	}
}

// TestScanReader passes the stream's own error on, wherever it strikes.
func TestScanReader(t *testing.T) {
	raw := archive(t, file("a", strings.Repeat("x", 1000)))
	broken := errors.New("disk on fire")
	for _, n := range []int{0, 100, 512, 800, len(raw)} {
		r := io.MultiReader(bytes.NewReader(raw[:n]), iotest.ErrReader(broken))
		if _, err := Scan(r, digest.FromBytes(raw), Limits{}); !errors.Is(err, broken) {
			t.Errorf("broken at %d: %v", n, err)
		}
	}
	if _, err := Scan(iotest.OneByteReader(bytes.NewReader(raw)), digest.FromBytes(raw), Limits{}); err != nil {
		t.Errorf("one byte at a time: %v", err)
	}
}

func FuzzScan(f *testing.F) {
	f.Add(archive(f, dir("a"), file("a/b", "x"), hard("a/c", "a/b"), symlink("d", "a"), file(".wh.e", "")))
	f.Add(archive(f, file("a/.wh..wh..opq", ""), member{name: "x", pax: map[string]string{"SCHILY.xattr.user.a": "b"}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := scanned(raw)
		if err != nil {
			if _, ok := reason.Of(err); !ok {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		tr, err := Merge([]Layer{l})
		if err != nil {
			return
		}
		for e := range tr.Entries() {
			if e.Type == File && e.Blob != "" && digest.FromBytes(raw[e.Offset:e.Offset+e.Size]) != e.Digest {
				t.Fatalf("%s does not lie at %d", e.Path, e.Offset)
			}
		}
		again, err := Decode(tr.Encode())
		if err != nil || again.Digest() != tr.Digest() {
			t.Fatalf("does not read back: %v", err)
		}
	})
}
