//go:build linux

package main

import (
	"context"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// onlyForm is set by the linker for the test builds that hold roots in one form
// and no other. A build without it takes the strongest form that the host can,
// and nothing at run time changes that; version tells them apart.
var onlyForm string

// watchEvery, set the same way, is how often such a build looks at its roots.
var watchEvery string

// interval is how often a running task's roots are looked at; 0 is launch's own.
func interval() time.Duration {
	if watchEvery == "" {
		return 0
	}
	d, err := time.ParseDuration(watchEvery)
	if err != nil {
		panic(err) // of a test build
	}
	return d
}

// held is an admitted tree as it will be mounted: a seal or, where roots are
// extracted for one task each, the source of its files until the task's ids are
// known.
type held struct {
	admitted
	box    box
	sealed *rootfs.Sealed
	source rootfs.Source
	limits rootfs.Limits
}

// Open reads one verified file.
func (h held) Open(e tree.Entry) (io.ReadCloser, error) {
	if h.sealed != nil {
		return h.sealed.Open(e)
	}
	return h.source.Open(e)
}

// form is how the tree is held.
func (h held) form() rootfs.Form {
	if h.sealed != nil {
		return h.sealed.Form()
	}
	return rootfs.Extracted
}

// weakest is the tier in force for all of them together.
func weakest(all []held) rootfs.Form {
	forms := rootfs.Forms()
	at := 0
	for _, h := range all {
		at = max(at, slices.Index(forms, h.form()))
	}
	return forms[at]
}

// mounted is the seal, or the tree extracted for the task with these ids.
func (h held) mounted(ctx context.Context, ids *rootfs.IDs) (*rootfs.Sealed, error) {
	if h.sealed != nil {
		return h.sealed, nil
	}
	s, err := rootfs.Extract(ctx, h.tree, h.admission.Tree(), h.source, h.limits, ids)
	if err == nil {
		h.box.later(func() { _ = s.Close() }) // only read
	}
	return s, err
}

// hold finds the kept seal of a tree, or makes it, or where this host keeps none
// has its files at hand.
func (b box) hold(ctx context.Context, seals *rootfs.Seals, a admitted) (held, error) {
	h := held{admitted: a, box: b, limits: seals.Limits()}
	key := rootfs.Key(a.parts(), a.admission.PolicyDigest())
	source := func() (rootfs.Source, error) { return b.source(a) }
	var err error
	h.sealed, _, err = seals.Acquire(ctx, key, a.tree, a.admission.Tree(), sealAge, b.w.now(), source)
	switch {
	case err != nil:
	case h.sealed != nil:
		b.later(func() { _ = h.sealed.Close() }) // only read
	default:
		h.source, err = source()
	}
	return h, err
}

// source has the bytes of an admitted tree.
func (b box) source(a admitted) (rootfs.Source, error) {
	if a.folder == "" {
		return b.spooled(a)
	}
	f, err := rootfs.OpenFolder(a.folder)
	if err != nil {
		return nil, err
	}
	b.later(func() { _ = f.Close() }) // only read
	return f, nil
}

// spooled has the bytes of an image's layers at hand: those that verification
// just read, and, where it knew the tree already, the stored layers again.
func (b box) spooled(a admitted) (rootfs.Source, error) {
	for _, l := range a.admission.Artifact().Layers() {
		if a.spool.Has(l.DiffID) {
			continue
		}
		packed, err := fetch.Layer(a.store, l)
		if err != nil {
			return nil, err
		}
		plain, err := tree.Decompress(packed, l.MediaType, tree.Limits{})
		if err == nil {
			err = a.spool.Fill(plain, l.DiffID)
			plain.Close()
		}
		packed.Close()
		if err != nil {
			return nil, err
		}
	}
	return a.spool, nil
}

// parts are what the tree was derived from.
func (a admitted) parts() []digest.Digest {
	var all []digest.Digest
	for _, l := range a.admission.Artifact().Layers() {
		all = append(all, l.DiffID)
	}
	if len(all) == 0 {
		all = append(all, a.tree.Digest())
	}
	return all
}

// accounts reads the image's account files as they will be mounted: a link in the
// image never leads to the host's files.
func accounts(root rootfs.Source, t tree.Tree) (plan.Accounts, error) {
	var a plan.Accounts
	for name, to := range map[string]*[]byte{"etc/passwd": &a.Passwd, "etc/group": &a.Group} {
		e, err := t.Resolve(name)
		if err != nil || e.Type != tree.File {
			continue
		}
		raw, err := readVerified(root, e)
		if err != nil {
			return a, err
		}
		*to = raw
	}
	return a, nil
}

// readVerified reads one file of an image, of at most 1 MiB.
func readVerified(root rootfs.Source, e tree.Entry) ([]byte, error) {
	what := "read /" + e.Path + " of the image"
	if e.Size > 1<<20 {
		return nil, &reason.Error{Code: reason.UserUnknown, What: what, Expected: "at most 1 MiB",
			Found: strconv.FormatInt(e.Size, 10) + " bytes", Next: "-u UID:GID"}
	}
	f, err := root.Open(e)
	if err != nil {
		return nil, &reason.Error{Code: reason.LaunchFailed, What: what, Err: err}
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, e.Size))
	if err != nil {
		return nil, &reason.Error{Code: reason.LaunchFailed, What: what, Err: err}
	}
	if found := digest.FromBytes(raw); found != e.Digest {
		return nil, &reason.Error{Code: reason.DigestMismatchFile, What: what, Expected: e.Digest.String(), Found: found.String()}
	}
	return raw, nil
}
