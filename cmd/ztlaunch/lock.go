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
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// relocked is one line of `lock --update`.
type relocked struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	Was    digest.Digest `json:"was,omitempty"` // before; absent for a tag that was not locked
}

// lockVerb admits what tags lead to now, and locks them to that.
func lockVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("lock", true)
	var t trustFlags
	var from fetchFlags
	update := fs.Bool("update", false, "ask the registry again, decide anew, and lock the tag to what it leads to")
	t.declare(fs)
	from.declare(fs)
	if err := w.parse(fs, "--update REF...", args); err != nil {
		return w.parsed("lock", err)
	}
	if !*update || fs.NArg() == 0 {
		return w.fail("lock", wrong("read the command", "--update and tags of registries", "ztlaunch lock --update REF"))
	}
	log, err := audit.Open(w.dirs().audit(), w.dirs().trust(), w.now())
	if err != nil {
		return w.fail("lock", err)
	}
	defer func() { _ = log.Close() }() // every record was synced when it was written
	var all []relocked
	var text strings.Builder
	for _, word := range fs.Args() {
		l, err := w.relock(ctx, word, &t, &from, log)
		if err != nil {
			return w.fail("lock", err)
		}
		all = append(all, l)
		was := ""
		if l.Was != "" && l.Was != l.Digest {
			was = ", was " + string(l.Was)
		}
		fmt.Fprintf(&text, "%s is %s%s\n", l.Name, l.Digest, was)
	}
	return w.done("lock", struct {
		header
		Locked []relocked `json:"locked"`
	}{header{"ztlaunch.locked/v1", 0}, all}, text.String())
}

// relock decides about one tag as run would, and records the decision first.
func (w world) relock(ctx context.Context, word string, t *trustFlags, from *fetchFlags, log *audit.Log) (relocked, error) {
	ref, err := parseRef(word, "")
	if err != nil {
		return relocked{}, err
	}
	if !lockable(ref) || ref.Digest() != "" {
		return relocked{}, wrong("lock "+word, "a tag of a registry: nothing else can move", "ztlaunch lock --update registry.example/agent:1.4")
	}
	in, err := w.inputs(t, from, policy.Run, ref)
	if err != nil {
		return relocked{}, err
	}
	in.Fetch.Pull = fetch.Always
	was, err := readPin(w.dirs(), ref)
	if err != nil {
		return relocked{}, err
	}
	var done func()
	in.Fetch.Progress, done = progress()
	report, err := verify.Image(ctx, ref, in)
	done()
	if err != nil {
		return relocked{}, err
	}
	if err := log.Append(decisionRecord("lock", w.now(), ref, report)); err != nil {
		return relocked{}, err
	}
	if !report.Decision.Allowed() {
		return relocked{}, denial(report.Decision)
	}
	a, err := admit.Admit(report.Decision, report.Artifact, report.Tree, policy.Run, w.now(), admissionAge)
	if err != nil {
		return relocked{}, err
	}
	e, err := admit.NewEntry(a)
	if err != nil {
		return relocked{}, err
	}
	known := admit.Lock{}
	if was.Digest == e.Digest { // its other platforms stay
		known = known.With(was)
	}
	return relocked{ref.Name() + ":" + ref.Tag(), e.Digest, was.Digest}, setPin(w.dirs(), ref, known.With(e))
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

// writePin locks a tag on its first admission, and refuses one that moved.
func writePin(d dirs, ref artifact.Reference, pinned admit.Entry, a admit.Admission) error {
	e, err := admit.NewEntry(a)
	if err != nil {
		return err
	}
	known := admit.Lock{}
	if pinned.Digest != "" {
		err := pinned.Resolves(a.Artifact())
		if err == nil {
			return nil
		}
		if pinned.Digest != e.Digest { // another platform of the same index is news, not a move
			return err
		}
		known = known.With(pinned)
	}
	return setPin(d, ref, known.With(e))
}

// lockable reports whether what ref leads to may be another thing tomorrow.
func lockable(ref artifact.Reference) bool {
	return ref.Scheme() == artifact.Registry && ref.Tag() != ""
}

// setPin locks a tag.
func setPin(d dirs, ref artifact.Reference, l admit.Lock) error {
	if err := os.MkdirAll(d.locks(), 0o700); err != nil {
		return &reason.Error{Code: reason.FileUnwritable, What: "make the folder " + d.locks(), Err: err}
	}
	return replaceFile(pinFile(d, ref), l.Encode(), 0o600)
}
