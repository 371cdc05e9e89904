//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/rootfs"
)

// TestLayerSwapped changes a layer on disk between two runs: in the layout it
// came from, and in the store, where the next run must read it again.
func TestLayerSwapped(t *testing.T) {
	for _, place := range []string{"layout", "store"} {
		t.Run(place, func(t *testing.T) {
			l := newLab(t)
			ref := l.image("tools")
			run := func() answer { return l.run("run", "--key", "release.pub", ref, "echo", "verified") }
			if a := run(); a.status != 0 || a.out != "verified\n" {
				t.Fatalf("%d %s", a.status, a.err)
			}
			dir := filepath.Join(l.dir, "tools", "blobs", "sha256")
			if place == "store" {
				dir = filepath.Join(l.root, "state", "store", "blobs", "sha256")
			}
			layer := biggest(t, dir)
			good, err := os.ReadFile(layer)
			if err != nil {
				t.Fatal(err)
			}
			other, err := os.ReadFile(biggest(t, filepath.Join(l.images, "goagent", "blobs", "sha256")))
			if err != nil {
				t.Fatal(err)
			}
			for name, bad := range map[string][]byte{"flipped": damages["flip"](good), "cut": damages["truncate"](good), "another": other} {
				overwrite(t, layer, bad)
				if place == "store" {
					l.mends(name, layer, run)
					continue
				}
				// What is kept is of the good bytes, or nothing starts.
				if a := run(); a.status == 0 && a.out != "verified\n" || a.status != 0 && a.status != 125 {
					t.Errorf("%s, warm: %d %q %s", name, a.status, a.out, a.err)
				}
				l.ok("store", "prune", "--all")
				if a := run(); a.status != 125 || a.out != "" || !strings.Contains(a.err, "digest-mismatch-layer") {
					t.Errorf("%s, cold: %d %q %s", name, a.status, a.out, a.err)
				}
				overwrite(t, layer, good)
				if a := run(); a.status != 0 || a.out != "verified\n" {
					t.Fatalf("%s, put back: %d %s", name, a.status, a.err)
				}
			}
		})
	}
}

// mends wants a layer that was swapped in the store refused once, if not for what is
// kept of the good bytes, then for its own; set aside; and had from its source again.
func (l *lab) mends(name, layer string, run func() answer) {
	l.t.Helper()
	a := run()
	if a.status == 0 {
		if a.out != "verified\n" {
			l.t.Errorf("%s, warm: %q %s", name, a.out, a.err)
		}
		l.ok("store", "prune")
		a = run()
	}
	if a.status != 125 || a.out != "" || !strings.Contains(a.err, "digest-mismatch-layer") || !strings.Contains(a.err, "damaged") {
		l.t.Errorf("%s: %d %q %s", name, a.status, a.out, a.err)
	}
	if a := run(); a.status != 0 || a.out != "verified\n" {
		l.t.Errorf("%s, again: %d %s", name, a.status, a.err)
	}
	raw, err := os.ReadFile(layer)
	if err != nil || digest.FromBytes(raw).Encoded() != filepath.Base(layer) {
		l.t.Errorf("%s: the layer is not mended: %v", name, err)
	}
	l.ok("store", "prune") // and what was damaged with it
	if _, err := os.Stat(filepath.Join(l.root, "state", "store", "damaged")); err == nil {
		l.t.Errorf("%s: what was damaged stays", name)
	}
}

// biggest is the largest file of a folder: the layer.
func biggest(t *testing.T, dir string) string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	at, most := "", int64(-1)
	for _, e := range all {
		if info, err := e.Info(); err == nil && info.Size() > most {
			at, most = filepath.Join(dir, e.Name()), info.Size()
		}
	}
	return at
}

// TestKeptSealReplaced puts another image's mount in the place of a kept seal,
// and edits its record, as whoever has the run folder can: what runs are still
// the verified bytes.
func TestKeptSealReplaced(t *testing.T) {
	l := newLab(t)
	ref, evil := l.image("goagent"), l.image("tools")
	seals := func() map[string]bool {
		all := map[string]bool{}
		records, _ := filepath.Glob(filepath.Join(l.root, "run", "seals", "*", "record"))
		for _, r := range records {
			all[filepath.Dir(r)] = true
		}
		return all
	}
	run := func(what string) {
		t.Helper()
		// /bin/echo is only in the other image.
		if a := l.run("run", "--key", "release.pub", ref, "probe", "file", "/bin/echo"); a.status != 1 || !strings.Contains(a.out, "ENOENT") {
			t.Errorf("%s: %d %q %s", what, a.status, a.out, a.err)
		}
	}
	l.ok("run", "--key", "release.pub", evil, "true")
	before := seals()
	l.ok("run", "--key", "release.pub", ref, "probe", "file", "/agent")
	if l.form() == string(rootfs.Extracted) { // made for one task each: nothing is kept that could be replaced
		if n := len(seals()); n != 0 {
			t.Errorf("%d kept", n)
		}
		return
	}
	if len(before) != 1 || len(seals()) != 2 {
		t.Fatalf("kept seals: %v, then %v", before, seals())
	}
	var theirs string
	for s := range before {
		theirs = s
	}
	ours := func() string { // made anew each time
		for s := range seals() {
			if s != theirs {
				return s
			}
		}
		t.Fatal("no kept seal")
		return ""
	}
	mount := func(from, to string) {
		t.Helper()
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	mount(filepath.Join(theirs, "root"), filepath.Join(ours(), "root"))
	run("mounted over")
	at := ours()
	if err := unix.Unmount(filepath.Join(at, "root"), 0); err != nil {
		t.Fatal(err)
	}
	mount(filepath.Join(theirs, "root"), filepath.Join(at, "root"))
	run("mounted instead")

	// The record of the other seal under our key, with and without its mount.
	record, err := os.ReadFile(filepath.Join(theirs, "record"))
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, filepath.Join(ours(), "record"), record)
	run("the other record")
	at = ours()
	overwrite(t, filepath.Join(at, "record"), record)
	mount(filepath.Join(theirs, "root"), filepath.Join(at, "root"))
	run("the other record and mount")

	// Our record, with one field changed each time.
	for _, field := range fields(t, filepath.Join(ours(), "record")) {
		at := filepath.Join(ours(), "record")
		raw, err := os.ReadFile(at)
		if err != nil {
			t.Fatal(err)
		}
		var mine, other map[string]any
		if json.Unmarshal(raw, &mine) != nil || json.Unmarshal(record, &other) != nil {
			t.Fatalf("%s\n%s", raw, record)
		}
		mine[field] = other[field]
		changed, err := json.Marshal(mine)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, at, append(changed, '\n'))
		run("the other's " + field)
	}
	overwrite(t, filepath.Join(ours(), "record"), bytes.Repeat([]byte("{"), 100))
	run("a record that is none")
}

func fields(t *testing.T, file string) []string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}
