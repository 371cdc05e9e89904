package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/content"
)

// storeVerb looks after the store, and after the seals that launches keep.
func storeVerb(_ context.Context, w world, args []string) int {
	fs := newFlags("store", true)
	all := fs.Bool("all", false, "prune: remove stored blobs too; what was adopted must be adopted again")
	if err := w.parse(fs, "ls | prune [--all]", args); err != nil {
		return w.parsed("store", err)
	}
	if fs.NArg() == 1 && fs.Arg(0) == "ls" {
		return w.listStore()
	}
	if fs.NArg() == 1 && fs.Arg(0) == "prune" {
		return w.pruneStore(*all)
	}
	return w.fail("store", strange("store", fs.Args(), "ls", "prune"))
}

func (w world) listStore() int {
	d := w.dirs()
	s, err := content.Open(d.store())
	if err != nil {
		return w.fail("store", err)
	}
	blobs, err := s.List()
	if err != nil {
		return w.fail("store", err)
	}
	type stored struct {
		Digest digest.Digest `json:"digest"`
		Size   int64         `json:"size"`
	}
	all := []stored{}
	var total int64
	var text strings.Builder
	for _, b := range blobs {
		size, err := s.Stat(b)
		if err != nil {
			return w.fail("store", err)
		}
		total += size
		all = append(all, stored{b, size})
		fmt.Fprintf(&text, "%s %12d\n", b, size)
	}
	fmt.Fprintf(w.err, "%d blobs, %d bytes in %s\n", len(blobs), total, d.store())
	return w.done("store", struct {
		header
		Blobs []stored `json:"blobs"`
	}{header{"ztlaunch.store/v1", 0}, all}, text.String())
}

// pruneStore takes away what can be had again: kept seals, damaged blobs, the kept runtime, what
// dead tasks left, and with --all the stored blobs. Running tasks keep what they
// have mounted.
func (w world) pruneStore(all bool) int {
	d := w.dirs()
	s, err := content.Open(d.store())
	if err != nil {
		return w.fail("store", err)
	}
	var blobs []digest.Digest
	if all {
		if blobs, err = s.List(); err != nil {
			return w.fail("store", err)
		}
	}
	for _, b := range blobs {
		if err := s.Remove(b); err != nil {
			return w.fail("store", err)
		}
	}
	if err := errors.Join(s.RemoveDamaged(), d.unseal()); err != nil {
		return w.fail("store", err)
	}
	fmt.Fprintf(w.err, "removed %d blobs and the kept seals\n", len(blobs))
	return w.done("store", struct {
		header
		Removed int `json:"removed"`
	}{header{"ztlaunch.pruned/v1", 0}, len(blobs)}, "")
}
