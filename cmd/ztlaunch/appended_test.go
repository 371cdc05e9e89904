//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/fetch"
)

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
