package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func TestResolve(t *testing.T) {
	ms := []member{
		dir("usr/bin"), file("usr/bin/sh", ""), symlink("bin", "usr/bin"), symlink("abs", "/usr/bin/sh"),
		symlink("up", "../../../usr/bin/../bin/sh"), symlink("usr/back", "../bin/./sh"), symlink("a", "b"), symlink("b", "a"),
		symlink("dangling", "nowhere/x"), symlink("root", "/"), symlink("slash", "usr/bin/sh/"), symlink("self", "."),
	}
	for i := range 41 {
		ms = append(ms, symlink(fmt.Sprintf("n%d", i), fmt.Sprintf("n%d", i+1)))
	}
	ms = append(ms, file("n41", ""))
	tr := merged(t, layer(t, ms...))
	good := map[string]string{
		"/": ".", "": ".", ".": ".", "/..": ".", "../../usr": "usr", "/bin/sh": "usr/bin/sh", "bin//./sh": "usr/bin/sh", "/bin": "usr/bin", "/bin/": "usr/bin",
		"/abs": "usr/bin/sh", "/up": "usr/bin/sh", "/usr/back": "usr/bin/sh", "/bin/../back": "usr/bin/sh", "/root/bin": "usr/bin", "/n1": "n41", "/self/self/abs": "usr/bin/sh",
	}
	for p, want := range good {
		if e, err := tr.Resolve(p); err != nil || e.Path != want {
			t.Errorf("%q is %q, %v; want %q", p, e.Path, err, want)
		}
	}
	bad := map[string]error{
		"/a": ErrLoop, "/n0": ErrLoop, "/dangling": ErrAbsent, "/no": ErrAbsent, "/usr/bin/sh/x": ErrNotDir, "/usr/bin/sh/": ErrNotDir, "/usr/bin/sh/..": ErrNotDir,
		"/slash": ErrNotDir, "/abs/": ErrNotDir,
	}
	for p, want := range bad {
		if e, err := tr.Resolve(p); !errors.Is(err, want) {
			t.Errorf("%q is %q, %v; want %v", p, e.Path, err, want)
		}
	}
}

func TestSkeleton(t *testing.T) {
	tr, err := merged(t, layer(t, member{name: "tmp/", typ: tar.TypeDir, mode: 0o755, uid: 9}, file("etc/hosts", "own"), file("etc/mtab", ""))).Skeleton()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := paths(tr), "d dev, d etc, f etc/hostname, f etc/hosts, f etc/mtab, f etc/resolv.conf, d proc, d run, d sys, d tmp"; got != want {
		t.Errorf("paths %s\nwant  %s", got, want)
	}
	for e := range tr.Entries() {
		own := e.Path == "." || e.Path == "tmp" || e.Path == "etc" || e.Path == "etc/hosts" || e.Path == "etc/mtab"
		if own != (e.Origin == "") {
			t.Errorf("%s has origin %q", e.Path, e.Origin)
		}
	}
	if e, _ := tr.Lookup("tmp"); e.Mode != 0o755 || e.UID != 9 {
		t.Errorf("tmp is %+v, want the image's", e)
	}
	again, err := tr.Skeleton()
	if err != nil || again.Digest() != tr.Digest() {
		t.Errorf("a second skeleton: %v", err)
	}
	if _, err := merged(t).Skeleton(); err != nil {
		t.Errorf("from scratch: %v", err)
	}
}

func TestSkeletonRefuses(t *testing.T) {
	cases := map[string]member{
		"symlink": symlink("proc", "/etc"), "symlink-dev": symlink("dev", "tmp"), "symlink-etc": symlink("etc", "usr/etc"),
		"symlink-file": symlink("etc/resolv.conf", "../run/resolv.conf"), "file": file("sys", ""), "directory": dir("etc/hosts"),
		"fifo": {name: "etc/hostname", typ: tar.TypeFifo}, "run": symlink("run", "var/run"), "tmp": symlink("tmp", "/var/tmp"),
	}
	for name, m := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := merged(t, layer(t, m)).Skeleton()
			wantCode(t, err, reason.MountpointType)
		})
	}
}

func TestFromFiles(t *testing.T) {
	sum := digest.FromString("weights")
	tr, err := FromFiles([]Entry{
		{Path: "shard/b.safetensors", Type: File, Mode: 0o644, Size: 7, Digest: sum},
		{Path: "a.json", Type: File, Mode: 0o644, Size: 7, Digest: sum},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := paths(tr), "f a.json, d shard, f shard/b.safetensors"; got != want {
		t.Errorf("paths %s, want %s", got, want)
	}
	if tr.Size() != 14 {
		t.Errorf("size %d", tr.Size())
	}
	if again, err := Decode(tr.Encode()); err != nil || again.Digest() != tr.Digest() {
		t.Errorf("does not read back: %v", err)
	}
}

func TestFromFilesRefuses(t *testing.T) {
	sum := digest.FromString("x")
	ok := func(p string) Entry { return Entry{Path: p, Type: File, Size: 1, Digest: sum} }
	with := func(change func(*Entry)) []Entry {
		e := ok("a")
		change(&e)
		return []Entry{e}
	}
	cases := map[string][]Entry{
		"twice":     {ok("a"), ok("a")},
		"below":     {ok("a"), ok("a/b")},
		"absolute":  {ok("/a")},
		"dotdot":    {ok("a/../b")},
		"dot":       {ok("./a")},
		"empty":     {ok("")},
		"root-file": {ok(".")},
		"type":      with(func(e *Entry) { e.Type = 0 }),
		"mode":      with(func(e *Entry) { e.Mode = 0o10000 }),
		"uid":       with(func(e *Entry) { e.UID = 1 << 16 }),
		"size":      with(func(e *Entry) { e.Size = -1 }),
		"size-zero": with(func(e *Entry) { e.Size = 0 }),
		"nothing":   with(func(e *Entry) { e.Digest = empty }),
		"digest":    with(func(e *Entry) { e.Digest = "sha256:00" }),
		"no-digest": with(func(e *Entry) { e.Digest = "" }),
		"link":      with(func(e *Entry) { e.Link = "b" }),
		"blob":      with(func(e *Entry) { e.Blob = sum }),
		"origin":    with(func(e *Entry) { e.Origin = "mine" }),
		"xattr":     with(func(e *Entry) { e.Xattrs = map[string]string{"security.capability": "x"} }),
	}
	for name, entries := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := FromFiles(entries)
			wantCode(t, err, reason.TreeMalformed)
		})
	}
}
