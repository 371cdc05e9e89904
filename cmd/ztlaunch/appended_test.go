//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/fetch"
)

// TestSpecialIsWhatWasSeen: what took a pipe's or a device's place since it was looked
// at is not written to.
func TestSpecialIsWhatWasSeen(t *testing.T) {
	seen, err := os.Lstat("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := special("/dev/full", seen); err == nil || f != nil {
		t.Error("another device is taken")
	}
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := special(victim, seen); err == nil || f != nil {
		t.Error("a file in a device's place is taken")
	}
	f, err := special("/dev/null", seen)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestAppendBundles adds lines from many sides at once: none is lost.
func TestAppendBundles(t *testing.T) {
	target := filepath.Join(t.TempDir(), "m.intoto.jsonl")
	const n = 40
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := appendBundle(target, fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	bundles, err := fetch.Detached(target)
	if err != nil || len(bundles) != n {
		t.Errorf("%d of %d lines, %v", len(bundles), n, err)
	}
}
