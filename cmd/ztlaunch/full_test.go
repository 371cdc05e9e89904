//go:build linux

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// small mounts memory of a few bytes at a folder of the lab.
func (l *lab) small(name, size string) string {
	l.t.Helper()
	dir := filepath.Join(l.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size="+size); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			l.t.Error(err)
		}
	})
	return dir
}

// fill takes all the room that is left.
func (l *lab) fill(dir string) {
	l.t.Helper()
	f, err := os.CreateTemp(dir, "filler-*")
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	for n := 1 << 20; n > 0; {
		if _, err := f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
}

// listing is every file below dir with its size.
func (l *lab) listing(dir string) string {
	l.t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			b.WriteString(path + " " + string(raw) + "\n")
			return err
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return b.String()
}

// TestFullDisk ends each verb on a full disk in one clear error, with nothing
// written by halves.
func TestFullDisk(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	refuse := func(what string, a answer, status int, code string) {
		t.Helper()
		if a.status != status || a.out != "" || strings.Count(a.err, code) != 1 || !strings.Contains(a.err, "no space left") || strings.Contains(a.err, "goroutine") {
			t.Errorf("%s: status %d, want %d and one %s: %q %s", what, a.status, status, code, a.out, a.err)
		}
	}
	on := func(root string, args ...string) answer {
		c := l.cmd(args...)
		c.Args[2] = root
		return l.finish(c)
	}

	// The store cannot hold the image.
	state := l.small("state", "512k")
	refuse("run", on(state, "run", "--key", "release.pub", ref, "echo", "ran"), 125, "store-unwritable")
	refuse("verify", on(state, "verify", "--key", "release.pub", ref), 3, "store-unwritable")
	refuse("adopt", on(state, "adopt", ref, "--as", "agent:dev"), 3, "store-unwritable")
	if _, err := os.Stat(filepath.Join(state, "config", "policy.yaml")); err == nil {
		t.Error("a failed adoption is believed")
	}
	if a := on(state, "audit", "verify"); a.status != 0 {
		t.Errorf("the log after a full store: %s%s", a.out, a.err)
	}
	blobs, _ := filepath.Glob(filepath.Join(state, "state", "store", "blobs", "sha256", "*"))
	for _, b := range blobs {
		if raw, err := os.ReadFile(b); err != nil || len(raw) == 0 {
			t.Errorf("a blob by halves: %s, %d bytes, %v", b, len(raw), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(state, "state", "store", "partial", "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}

	// In the end not even the log can be written: nothing starts.
	for range 40 { // the last page of the log has room for some records
		l.fill(state)
		a := on(state, "run", "--key", "release.pub", ref, "echo", "ran")
		if a.status != 125 || a.out != "" {
			t.Fatalf("on a full disk: %d %q %s", a.status, a.out, a.err)
		}
		if strings.Contains(a.err, "audit-unwritable") {
			break
		}
	}
	before := l.listing(filepath.Join(state, "state", "audit"))
	// A refused flag, and a denial: each is told, and that it could not be recorded.
	for _, flags := range [][]string{{"--privileged"}, {"--key", "absent.pub"}} {
		a := on(state, append(append([]string{"run"}, flags...), ref, "echo", "ran")...)
		refuse("run without a log", a, 125, "audit-unwritable")
		if strings.Count(a.err, "ztlaunch run: ") != 2 {
			t.Errorf("%v: %s", flags, a.err)
		}
	}
	warm := l.small("warm", "64m")
	if a := on(warm, "run", "--key", "release.pub", ref, "echo", "ran"); a.status != 0 || a.out != "ran\n" {
		t.Fatalf("%d %s", a.status, a.err)
	}
	for tries := 0; ; tries++ {
		l.fill(warm)
		a := on(warm, "run", "--key", "release.pub", ref, "echo", "ran")
		if a.status == 125 && a.out == "" && strings.Contains(a.err, "audit-unwritable") {
			break
		}
		if tries == 40 || a.status == 125 && !strings.Contains(a.err, "no space left") {
			t.Fatalf("on a full disk: %d %q %s", a.status, a.out, a.err)
		}
	}
	if a := on(warm, "audit", "verify"); a.status != 0 {
		t.Errorf("the log on a full disk: %s%s", a.out, a.err)
	}
	on(warm, "store", "prune")
	if after := l.listing(filepath.Join(state, "state", "audit")); after != before {
		t.Errorf("the log was\n%s\nand is\n%s", before, after)
	}
	if a := on(state, "audit", "verify"); a.status != 0 {
		t.Errorf("the log on a full disk: %s%s", a.out, a.err)
	}
	bare := l.small("bare", "16k")
	l.fill(bare)
	refuse("run where there is no log yet", on(bare, "run", "--key", "release.pub", ref, "echo", "ran"), 125, "audit-unwritable")
	if left := l.listing(filepath.Join(bare, "state")); left != "" {
		t.Errorf("half a log: %s", left)
	}

	// A layout that cannot grow stays what it was.
	full := l.small("full", "64k")
	refuse("copy", l.run("copy", ref, "oci-layout:"+full+"/new"), 3, "layout-unwritable")
	if index, err := os.ReadFile(filepath.Join(full, "new", "index.json")); err == nil && strings.Contains(string(index), "sha256:") {
		t.Errorf("an image by halves is listed: %s", index)
	}
	signed := l.small("signed", "16m")
	if err := os.CopyFS(filepath.Join(signed, "tools"), os.DirFS(filepath.Join(l.images, "tools"))); err != nil {
		t.Fatal(err)
	}
	there := l.listing(filepath.Join(signed, "tools"))
	l.fill(signed)
	refuse("sign", l.run("sign", "--key", "release.key", "oci-layout:"+signed+"/tools"), 3, "layout-unwritable")
	refuse("key", l.run("key", "generate", "--output-key-prefix", filepath.Join(signed, "k")), 2, "file-unwritable")
	if now := l.listing(filepath.Join(signed, "tools")); now != there {
		t.Error("a layout was changed by a signature that did not fit")
	}
	if left, _ := filepath.Glob(filepath.Join(signed, ".ztlaunch-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(signed, "k*")); len(left) != 0 {
		t.Errorf("half a key pair: %v", left)
	}
}

// TestFullLog has room for everything but the log: whatever runs has its launch on
// record, and where there is no room for that nothing runs.
func TestFullLog(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	root := filepath.Join(l.dir, "apart")
	if err := os.MkdirAll(filepath.Join(root, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	log := l.small("apart/state/audit", "64k")
	on := func(args ...string) answer {
		c := l.cmd(args...)
		c.Args[2] = root
		return l.finish(c)
	}
	defer on("store", "prune")
	ran := 0
	run := func() answer {
		a := on("run", "--key", "release.pub", ref, "echo", "ran")
		if a.out != "" {
			ran++
		}
		return a
	}
	if a := run(); a.status != 0 {
		t.Fatal(a.err)
	}
	l.fill(log)
	for tries := 0; ; tries++ { // the last page of the log has room for some records
		if a := run(); a.status == 125 && a.out == "" && strings.Contains(a.err, "audit-unwritable") {
			break
		}
		if tries == 40 {
			t.Fatal("the log has no end")
		}
	}
	if a := run(); a.status != 125 || a.out != "" {
		t.Errorf("without room for a record: status %d, %q", a.status, a.out)
	}
	if n := strings.Count(on("audit", "show").out, " launch "); n < ran {
		t.Errorf("%d ran, %d launches are on record", ran, n)
	}
}
