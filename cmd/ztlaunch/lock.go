package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// relocked is the JSON of `lock --update`.
type relocked struct {
	header
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	Was    digest.Digest `json:"was,omitempty"` // before; absent for a tag that was not locked
}

// lockVerb admits what a tag leads to now, and locks it to that.
func lockVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("lock", true)
	var t trustFlags
	var from fetchFlags
	update := fs.Bool("update", false, "ask the registry again, decide anew, and lock the tag to what it leads to")
	kind := fs.String("kind", "image", "image or server: what the tag is locked as")
	t.declare(fs)
	from.declare(fs)
	if err := w.parse(fs, "--update REF", args); err != nil {
		return w.parsed("lock", err)
	}
	if !*update || fs.NArg() != 1 || *kind != "image" && *kind != "server" || fs.Changed("pull") && from.pull != "always" {
		return w.fail("lock", wrong("read the command", "--update and one tag of a registry, which is asked (--pull always)", "ztlaunch lock --update REF"))
	}
	ref, err := parseRef(fs.Arg(0), "")
	if err == nil && (!lockable(ref) || ref.Digest() != "") {
		err = wrong("lock "+fs.Arg(0), "a tag of a registry: nothing else can move", "ztlaunch lock --update registry.example/agent:1.4")
	}
	if err != nil {
		return w.fail("lock", err)
	}
	if *kind == "server" {
		ref = ref.As(artifact.MCP)
	}
	log, err := audit.Open(w.dirs().audit(), w.dirs().trust(), w.now())
	if err != nil {
		return w.fail("lock", err)
	}
	defer func() { _ = log.Close() }() // every record was synced when it was written
	l, told, err := w.relock(ctx, ref, &t, &from, log)
	if err != nil {
		rec := audit.Record{Time: w.now(), Kind: audit.Denial, Actor: actor(), Verb: "lock",
			Parts: []audit.Part{{Role: ref.Kind().String(), Name: ref.String()}}}
		if e, ok := reason.Of(err); ok {
			rec.Codes, rec.Expected, rec.Found, rec.Note = []reason.Code{e.Code}, e.Expected, e.Found, e.What
		}
		if !told {
			err = errors.Join(err, log.Append(rec))
		}
		return w.fail("lock", err)
	}
	was := ""
	if l.Was != "" && l.Was != l.Digest {
		was = ", was " + string(l.Was)
	}
	return w.done("lock", l, fmt.Sprintf("%s is %s%s\n", l.Name, l.Digest, was))
}

// relock decides about a tag as run would. The record comes before the lock; told
// says that a denial is on record already.
func (w world) relock(ctx context.Context, ref artifact.Reference, t *trustFlags, from *fetchFlags, log *audit.Log) (l relocked, told bool, err error) {
	in, err := w.inputs(t, from, policy.Run, ref)
	if err != nil {
		return relocked{}, false, err
	}
	in.Fetch.Pull = fetch.Always
	var done func()
	in.Fetch.Progress, done = progress()
	report, err := verify.Image(ctx, ref, in)
	done()
	if err != nil {
		return relocked{}, false, err
	}
	if err := log.Append(decisionRecord("lock", w.now(), ref, report, t.believed())); err != nil {
		return relocked{}, false, err
	}
	if !report.Decision.Allowed() {
		return relocked{}, true, denial(report.Decision)
	}
	a, err := admit.Admit(report.Decision, report.Artifact, report.Tree, policy.Run, w.now(), admissionAge)
	if err != nil {
		return relocked{}, false, err
	}
	e, err := admit.NewEntry(a)
	if err != nil {
		return relocked{}, false, err
	}
	l = relocked{header: header{"ztlaunch.locked/v1", 0}, Name: ref.Name() + ":" + ref.Tag(), Digest: e.Digest}
	err = locking(w.dirs(), func() error {
		was, err := readPin(w.dirs(), ref)
		if err != nil {
			return err
		}
		l.Was = was.Digest
		known := admit.Lock{}
		if was.Digest == e.Digest { // its other platforms stay
			known = known.With(was)
		}
		rec := decisionRecord("lock", w.now(), ref, report, t.believed())
		rec.Kind, rec.Expected, rec.Found = audit.Lock, string(was.Digest), string(e.Digest)
		if err := log.Append(rec); err != nil {
			return err
		}
		return setPin(w.dirs(), ref, known.With(e))
	})
	return l, false, err
}

// locked is ref at the digest that was admitted before, unless the registry is
// to be asked again; then the two must agree, which writePin sees to.
func locked(ref artifact.Reference, pinned admit.Entry, pull fetch.Pull) artifact.Reference {
	if pinned.Digest == "" || pull == fetch.Always || ref.Scheme() != artifact.Registry || ref.Digest() != "" {
		return ref
	}
	return ref.WithDigest(pinned.Digest)
}

// pinFile is where the lock of one tag lies.
func pinFile(d dirs, ref artifact.Reference) string {
	sum := sha256.Sum256([]byte(ref.Kind().String() + " " + ref.Name() + ":" + ref.Tag()))
	return filepath.Join(d.locks(), hex.EncodeToString(sum[:]))
}

// readPin is what a tag was admitted as before; the zero Entry for a first time.
func readPin(d dirs, ref artifact.Reference) (admit.Entry, error) {
	if !lockable(ref) {
		return admit.Entry{}, nil
	}
	file := pinFile(d, ref)
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return admit.Entry{}, nil
	}
	if err != nil {
		return admit.Entry{}, &reason.Error{Code: reason.FileUnreadable, What: "read the lock " + file, Err: err}
	}
	l, err := admit.ParseLock(raw, file)
	if err != nil {
		return admit.Entry{}, err
	}
	e, _ := l.Find(ref.Kind(), ref.Name(), ref.Tag())
	return e, nil
}

// writePin locks a tag on its first admission, and refuses one that moved since, as
// the lock says by now.
func writePin(d dirs, ref artifact.Reference, pinned admit.Entry, a admit.Admission) error {
	if pinned.Digest != "" && pinned.Resolves(a.Artifact()) == nil {
		return nil
	}
	e, err := admit.NewEntry(a)
	if err != nil {
		return err
	}
	return locking(d, func() error {
		now, err := readPin(d, ref)
		if err != nil {
			return err
		}
		known := admit.Lock{}
		if now.Digest != "" {
			err := now.Resolves(a.Artifact())
			if err == nil {
				return nil
			}
			if now.Digest != e.Digest { // another platform of the same index is news, not a move
				return err
			}
			known = known.With(now)
		}
		return setPin(d, ref, known.With(e))
	})
}

// locking runs f while nobody else changes a lock.
func locking(d dirs, f func() error) error { return holding(d.locks(), f) }

// holding runs f while nobody else does so for the same folder, which is made.
func holding(folder string, f func() error) error {
	unwritable := func(err error) error {
		return &reason.Error{Code: reason.FileUnwritable, What: "lock the folder " + folder, Err: err}
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return unwritable(err)
	}
	dir, err := os.Open(folder)
	if err != nil {
		return unwritable(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return unwritable(err)
	}
	return f()
}

// lockable reports whether what ref leads to may be another thing tomorrow.
func lockable(ref artifact.Reference) bool {
	return ref.Scheme() == artifact.Registry && ref.Tag() != ""
}

// forget unlocks a tag. Call it in locking.
func forget(d dirs, ref artifact.Reference) error {
	if err := os.Remove(pinFile(d, ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &reason.Error{Code: reason.FileUnwritable, What: "remove the lock of " + ref.String(), Err: err}
	}
	return nil
}

// setPin locks a tag. Call it in locking.
func setPin(d dirs, ref artifact.Reference, l admit.Lock) error {
	return replaceFile(pinFile(d, ref), l.Encode())
}
