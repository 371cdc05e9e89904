package main

import (
	"cmp"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/ztlaunch/ztlaunch/verify/steps"
)

// layoutFlags name an in-toto layout and its links, for policies that demand one.
type layoutFlags struct{ layout, links string }

func (f *layoutFlags) declare(fs *pflag.FlagSet) {
	fs.StringVar(&f.layout, "layout", "", "an in-toto layout file, for policies that demand one")
	fs.StringVar(&f.links, "links", "", "the folder of the layout's links (default: the layout's own)")
}

// files reads them, once for all that a verb decides.
func (f layoutFlags) files() (steps.Files, error) {
	switch {
	case f.layout == "" && f.links == "":
		return steps.Files{}, nil
	case f.layout == "":
		return steps.Files{}, wrong("read the flags", "--links together with --layout", "--layout FILE")
	}
	raw, err := readCapped(f.layout, steps.MaxSize)
	if err != nil {
		return steps.Files{}, err
	}
	links, err := steps.ReadLinks(os.DirFS(cmp.Or(f.links, filepath.Dir(f.layout))))
	return steps.Files{Layout: raw, Links: links}, err
}
