package main

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/fetch"
)

// copyVerb copies an image with its evidence between registries and layouts,
// byte for byte. It believes and decides nothing.
func copyVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("copy", true)
	var from fetchFlags
	fs.StringVar(&from.pull, "pull", "missing", "never: copy from the store what was pulled from a registry")
	from.reach(fs)
	if err := w.parse(fs, "[flags] SRC DST", args); err != nil {
		return w.parsed("copy", err)
	}
	if fs.NArg() != 2 {
		return w.fail("copy", wrong("read the command", "a source and a target", ""))
	}
	src, err := readRef(fs.Arg(0))
	if err == nil {
		err = present(src)
	}
	if err != nil {
		return w.fail("copy", err)
	}
	dst, err := readTarget(fs.Arg(1))
	if err != nil {
		return w.fail("copy", err)
	}
	o, err := from.options(w)
	if err != nil {
		return w.fail("copy", err)
	}
	d, err := fetch.Copy(ctx, src, dst, o)
	if err != nil {
		return w.fail("copy", err)
	}
	return w.done("copy", struct {
		header
		Digest digest.Digest `json:"digest"`
	}{header{"ztlaunch.copied/v1", 0}, d.Digest}, string(d.Digest)+"\n")
}
