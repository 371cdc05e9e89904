//go:build linux

package main

import (
	"os"
	"testing"
)

// TestLockIsAFile: what lies in the place of the lock and is no file, as a device or a
// FIFO that nobody writes into, is refused and not waited for.
func TestLockIsAFile(t *testing.T) {
	d := newDesk(t)
	t.Chdir(d.dir)
	if err := os.Symlink(os.DevNull, lockFile); err != nil {
		t.Fatal(err)
	}
	d.refused("a device", d.call("zt", "verify", "--json", "--key", "release.pub"), 2, "file-unreadable")
	if _, err := readProject(); err == nil {
		t.Error("a device is a lock")
	}
}
