package main

import (
	"context"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// sealAge is how old the last full hash of a kept seal may be before it is
// hashed again.
const sealAge = time.Hour

// box launches one admitted image.
type box struct {
	*runner
	dirs    dirs
	keeper  *keeper.Keeper
	ground  func() (launch.Ground, error)
	models  map[string]admitted
	servers map[string]launch.Server
	stdio   launch.Stdio
	signals <-chan os.Signal
}

// launch seals the root, plans the box and runs it to its end.
func (b box) launch(ctx context.Context, a admitted, ask plan.Task) (int, error) {
	parts := launch.Parts{Tree: a.tree, Models: map[string]*rootfs.Sealed{}, Servers: b.servers, Runtime: b.programs.runtime,
		Keeper: b.keeper, Stdio: b.stdio, Signals: b.signals,
		Watch: launch.Watch{Models: map[string]tree.Tree{}}}
	seals, err := rootfs.OpenSeals(b.dirs.seals(), 0)
	if err != nil {
		return 125, b.deny(err, &a)
	}
	if parts.Root, err = b.seal(ctx, seals, a); err != nil {
		return 125, b.deny(err, &a)
	}
	b.later(func() { _ = parts.Root.Close() }) // only read
	for name, m := range b.models {
		if parts.Models[name], err = b.seal(ctx, seals, m); err != nil {
			return 125, b.deny(err, &m)
		}
		b.later(func() { _ = parts.Models[name].Close() }) // only read
		parts.Watch.Models[name] = m.tree
	}
	who, err := accounts(parts.Root, a.tree)
	if err != nil {
		return 125, b.deny(err, &a)
	}
	p, err := plan.Build(a.admission, a.tree, ask, who, seccomp().Spec(), plan.Host{PidsController: b.host.Controller("pids")})
	if err != nil {
		return 125, b.deny(err, &a)
	}
	if parts.Ground, err = b.ground(); err != nil {
		return 125, b.deny(err, &a)
	}
	if err := b.log.Append(b.record(audit.Launch, p.ID(), &a)); err != nil {
		return 125, err
	}
	b.outcome.start(p, parts)
	result, err := launch.Run(ctx, p, parts)
	if err != nil {
		return 125, b.deny(err, &a)
	}
	b.outcome.end(result)
	if result.Status != 0 && result.Cause == "" {
		b.explain(p, parts)
	}
	return result.Status, b.ended(p.ID(), a, result)
}

// ended records how the task ended.
func (b box) ended(id string, a admitted, result launch.Result) error {
	rec := b.record(audit.Exit, id, &a)
	rec.Status, rec.Cause = result.Status, "exited"
	if result.Cause != "" {
		rec.Cause, rec.Codes = string(result.Cause), []reason.Code{result.Cause}
	}
	for _, d := range result.Drift {
		found := b.record(audit.Drift, id, &a)
		found.Path, found.Codes, found.Expected, found.Found = d.Path, []reason.Code{d.Code}, d.Expected, d.Found
		if err := b.log.Append(found); err != nil {
			return err
		}
	}
	if result.Cause != "" {
		refusal(b.w.err, "run", &reason.Error{Code: result.Cause, What: "the task was ended"})
	}
	return b.log.Append(rec)
}

// seal gives the kept seal of a tree, or makes it.
func (b box) seal(ctx context.Context, seals *rootfs.Seals, a admitted) (*rootfs.Sealed, error) {
	key := rootfs.Key(a.parts(), a.admission.PolicyDigest())
	sealed, _, err := seals.Acquire(ctx, key, a.tree, a.admission.Tree(), sealAge, b.w.now(), func() (rootfs.Source, error) {
		if a.folder != "" {
			return rootfs.OpenFolder(a.folder)
		}
		return b.spooled(a)
	})
	return sealed, err
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

// accounts reads the image's account files from the verified mount, resolved
// inside it: a link in the image never leads to the host's files.
func accounts(root *rootfs.Sealed, t tree.Tree) (plan.Accounts, error) {
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
func readVerified(root *rootfs.Sealed, e tree.Entry) ([]byte, error) {
	what := "read /" + e.Path + " of the image"
	if e.Size > 1<<20 {
		return nil, &reason.Error{Code: reason.UserUnknown, What: what, Expected: "at most 1 MiB",
			Found: strconv.FormatInt(e.Size, 10) + " bytes", Next: "-u UID:GID"}
	}
	fd, err := unix.Openat2(int(root.Root().Fd()), e.Path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &reason.Error{Code: reason.LaunchFailed, What: what, Err: err}
	}
	f := os.NewFile(uintptr(fd), e.Path)
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, &reason.Error{Code: reason.LaunchFailed, What: what, Err: err}
	}
	if found := digest.FromBytes(raw); found != e.Digest {
		return nil, &reason.Error{Code: reason.DigestMismatchFile, What: what, Expected: e.Digest.String(), Found: found.String()}
	}
	return raw, nil
}
