//go:build linux

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// setid tries every call that gives a file its mode, and says which one gave a
// set-ID bit. What it writes into /work belongs to that folder's owner.
const setid = `
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def raw(*args): return libc.syscall(*args)
os.chdir("/work")
def plain(name):
    with open(name, "w") as f: f.write("#!/bin/sh\n")
    os.chmod(name, 0o755)
    return name
def attempt(what, f):
    try: f()
    except OSError: pass
for bits in (0o4755, 0o2755, 0o6755):
    b = b"%o" % bits
    attempt("chmod", lambda: os.chmod(plain("chmod%o" % bits), bits))
    attempt("fchmod", lambda: os.chmod(os.open(plain("fchmod%o" % bits), os.O_RDONLY), bits))
    attempt("fchmodat", lambda: os.chmod(plain("fchmodat%o" % bits), bits, dir_fd=os.open(".", os.O_RDONLY)))
    attempt("open", lambda: os.open("open%o" % bits, os.O_CREAT | os.O_WRONLY, bits))
    attempt("mknod", lambda: os.mknod("mknod%o" % bits, bits))
    raw(2, b"rawopen" + b, os.O_CREAT | os.O_WRONLY, bits)      # open
    raw(85, b"rawcreat" + b, bits)                              # creat
    raw(90, plain("rawchmod%o" % bits).encode(), bits)          # chmod
    raw(133, b"rawmknod" + b, bits, 0)                          # mknod
    raw(452, -100, plain("rawfchmodat2%o" % bits).encode(), bits, 0)
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, bits, 0)
    raw(437, -100, b"rawopenat2" + b, ctypes.byref(how), 24)
    fd = raw(257, -100, b".", os.O_TMPFILE | os.O_WRONLY, bits)  # openat
    if fd >= 0: attempt("link", lambda: os.link("/proc/self/fd/%d" % fd, "tmpfile%o" % bits, follow_symlinks=True))
os.mkdir("folder", 0o755); plain("folder/file"); os.chmod("folder", 0o700)
print("tried")
`

// TestSetID checks that a task leaves no set-ID program in a work mount: on the
// host it would run as the folder's owner, here root, for whoever starts it.
func TestSetID(t *testing.T) {
	l := newLab(t)
	l.copy(os.Getenv("ZTLAUNCH_DEBIAN"), "debian")
	ref := "oci-layout:./debian"
	l.ok("sign", "--key", "release.key", ref)
	l.write("work/try.py", setid)
	if a := l.ok("run", "--key", "release.pub", "-v", "./work:/work", ref, "python3", "/work/try.py"); a.out != "tried\n" {
		t.Fatalf("%q, %q", a.out, a.err)
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(l.dir, "work"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		st, err := d.Info()
		if err == nil && st.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s is %v", name, st.Mode())
		}
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("%d files, %v: the calls were not tried", files, err)
	}
	if st, err := os.Stat(filepath.Join(l.dir, "work", "chmod4755")); err != nil || st.Mode() != 0o755 {
		t.Errorf("an ordinary mode: %v, %v", st, err)
	}
}

// TestResultInWork writes the outcome into a folder that the task writes to: what
// the task puts there under any name neither leads it elsewhere nor replaces it.
func TestResultInWork(t *testing.T) {
	l := newLab(t)
	l.copy(os.Getenv("ZTLAUNCH_DEBIAN"), "debian")
	ref := "oci-layout:./debian"
	l.ok("sign", "--key", "release.key", ref)
	l.write("victim", "precious")
	if err := os.Mkdir(filepath.Join(l.dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	const plant = `cd /work; for f in r.json r.json.new .r.json.new; do rm -f $f; ln -s ../victim $f; done; echo '{"exit": 0}' > forged; exit 9`
	for range 2 {
		a := l.run("run", "--key", "release.pub", "--result", "work/r.json", "-v", "./work:/work", ref, "sh", "-c", plant)
		if o := l.outcomeOf("work/r.json"); a.status != 9 || o.Exit != 9 {
			t.Errorf("status %d, outcome %+v, %s", a.status, o, a.err)
		}
		if st, err := os.Lstat(filepath.Join(l.dir, "work", "r.json")); err != nil || !st.Mode().IsRegular() {
			t.Errorf("the result: %v, %v", st, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(l.dir, "victim")); err != nil || string(b) != "precious" {
		t.Errorf("the other file holds %q, %v", b, err)
	}
}
