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
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
	"github.com/ztlaunch/ztlaunch/verify/steps"
)

// relocked is the JSON of `lock --update`.
type relocked struct {
	header
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	Was    digest.Digest `json:"was,omitempty"` // before; absent for a tag that was not locked
}

// lockVerb locks names to the digests that are admitted today: those of the project in
// ./ztlaunch.lock, a file to review, and a moved tag on this host.
func lockVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("lock", true)
	var t trustFlags
	var from fetchFlags
	var chain layoutFlags
	check := fs.Bool("check", false, "write nothing: what is named must be locked, and each locked digest admitted by the policy")
	update := fs.Bool("update", false, "ask where names lead now, decide anew, and lock that: entries of ./"+lockFile+", with this host's locks of their tags; a tag that is not there, on this host alone")
	why := fs.String("why", "", "explain the entry NAME of ./"+lockFile)
	task := fs.StringP("file", "f", "", "a task file: its image, models and servers are meant")
	as := fs.String("as", "", "the name that the policy knows a folder or archive by")
	kind := fs.String("kind", "image", "image or server: what an image is locked as")
	t.declare(fs)
	from.declare(fs)
	chain.declare(fs)
	if err := w.parse(fs, "[flags] [REF...]   (without REF and -f: every entry of ./"+lockFile+")", args); err != nil {
		return w.parsed("lock", err)
	}
	modes := 0
	for _, on := range []bool{*check, *update, *why != ""} {
		if on {
			modes++
		}
	}
	switch {
	case checkKind(*kind) != nil:
		return w.fail("lock", checkKind(*kind))
	case modes > 1 || *as != "" && fs.NArg() != 1 || *why != "" && (fs.NArg() > 0 || *task != ""):
		return w.fail("lock", wrong("read the command", "one of --check, --update and --why NAME; --as with one reference", "ztlaunch lock --help"))
	case *update && fs.Changed("pull") && from.pull != "always":
		return w.fail("lock", wrong("read the command", "--update asks where names lead (--pull always)", "ztlaunch lock --update"))
	case *why != "":
		return w.whyLocked(*why)
	}
	if ci, _ := w.env("CI"); !*check && ci == "true" {
		return w.fail("lock", &reason.Error{Code: reason.LockInCI, What: "write a lock", Expected: "a lock that people review", Found: "CI=true", Next: "ztlaunch lock --check"})
	}
	files, err := chain.files()
	if err != nil {
		return w.fail("lock", err)
	}
	d := decider{w: w, trust: &t, from: &from, chain: files}
	p, err := readProject()
	e, absent := reason.Of(err)
	absent = absent && e.Code == reason.LockAbsent
	if err != nil && (!absent || *check || *task == "" && fs.NArg() == 0) {
		return w.fail("lock", err)
	}
	if *update && *task == "" && (absent || fs.NArg() == 1 && len(p.called(fs.Arg(0))) == 0) {
		if fs.NArg() != 1 {
			return w.fail("lock", wrong("read the command", "one tag of a registry, where there is no ./"+lockFile, "ztlaunch lock --update REF"))
		}
		return w.lockTag(ctx, fs.Arg(0), *kind, &t, &from, files)
	}
	all, err := p.about(fs.Args(), *as, *kind, *task, *update)
	if err != nil {
		return w.fail("lock", err)
	}
	if *check {
		return w.say("lock", d.check(ctx, p, all))
	}
	changes, said := d.settle(ctx, p, all, *update)
	if report.Exit(said...) != 0 {
		return w.say("lock", said)
	}
	if err := d.write(p, changes, *update); err != nil {
		return w.fail("lock", err)
	}
	done := projectLocked{header: header{"ztlaunch.locked-project/v1", 0}, File: p.file, Entries: []projectEntry{}}
	for _, c := range changes {
		done.Entries = append(done.Entries, entryOf(c.entry, c.was))
	}
	return w.done("lock", done, tell(changes))
}

// about reads which artifacts are meant: references and a task file, entries by their
// names where they are to be moved, or every entry.
func (p project) about(words []string, as, kind, task string, move bool) ([]wanted, error) {
	if len(words) == 0 && task == "" {
		if err := p.some(); err != nil {
			return nil, err
		}
		return p.wanted(p.lock.Entries())
	}
	var entries []admit.Entry
	var rest []string
	for _, word := range words {
		e := p.called(word)
		if !move { // a name of a registry is itself, with its own tag
			e = slices.DeleteFunc(e, func(e admit.Entry) bool { return e.From == "" || as != "" })
		}
		switch {
		case len(e) > 0:
			entries = append(entries, e...)
		case move:
			return nil, missing(word)
		default:
			rest = append(rest, word)
		}
	}
	all, err := p.wanted(entries)
	if err != nil {
		return nil, err
	}
	more, err := want(rest, as, kind, task)
	return append(all, more...), err
}

// say prints verdicts as verify does.
func (w world) say(verb string, all []report.Verdict) int {
	var r reports
	if w.json {
		r.out = "json"
	}
	return r.write(w, verb, all...)
}

// whyLocked explains the entries of a name.
func (w world) whyLocked(word string) int {
	p, err := readProject()
	if err != nil {
		return w.fail("lock", err)
	}
	found := p.called(word)
	if len(found) == 0 {
		return w.fail("lock", missing(word))
	}
	done := projectLocked{header: header{"ztlaunch.locked-project/v1", 0}, File: p.file}
	var text []string
	for _, e := range found {
		done.Entries = append(done.Entries, entryOf(e, admit.Entry{}))
		text = append(text, entryOf(e, admit.Entry{}).why())
	}
	return w.done("lock", done, strings.Join(text, "\n"))
}

// lockTag admits what a tag leads to now, and locks it to that on this host.
func (w world) lockTag(ctx context.Context, word, kind string, t *trustFlags, from *fetchFlags, chain steps.Files) int {
	ref, err := parseRef(word, "")
	if err == nil && (!lockable(ref) || ref.Digest() != "") {
		err = wrong("lock "+word, "a tag of a registry, or an entry of ./"+lockFile+": nothing else can move", "ztlaunch lock --update registry.example/agent:1.4")
	}
	if err != nil {
		return w.fail("lock", err)
	}
	if kind == "server" {
		ref = ref.As(artifact.MCP)
	}
	log, err := audit.Open(w.dirs().audit(), w.dirs().trust(), w.now())
	if err != nil {
		return w.fail("lock", err)
	}
	defer func() { _ = log.Close() }() // every record was synced when it was written
	l, told, err := w.relock(ctx, ref, t, from, chain, log)
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
func (w world) relock(ctx context.Context, ref artifact.Reference, t *trustFlags, from *fetchFlags, chain steps.Files, log *audit.Log) (l relocked, told bool, err error) {
	in, err := w.inputs(t, from, policy.Run, ref)
	if err != nil {
		return relocked{}, false, err
	}
	in.Layout = chain
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
	l.Was, err = w.movePin(ref, report, e, t, log)
	return l, false, err
}

// movePin locks a tag on this host to an entry, after its record, and says what it was
// locked to before.
func (w world) movePin(ref artifact.Reference, found verify.Report, e admit.Entry, t *trustFlags, log *audit.Log) (was digest.Digest, err error) {
	err = locking(w.dirs(), func() error {
		pinned, err := readPin(w.dirs(), ref)
		if err != nil {
			return err
		}
		was = pinned.Digest
		known := admit.Lock{}
		if was == e.Digest { // its other platforms stay
			known = known.With(pinned)
		}
		rec := decisionRecord("lock", w.now(), ref, found, t.believed())
		rec.Kind, rec.Expected, rec.Found = audit.Lock, string(was), string(e.Digest)
		if err := log.Append(rec); err != nil {
			return err
		}
		return setPin(w.dirs(), ref, known.With(e))
	})
	return was, err
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
	name := pinFile(d, ref)
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return admit.Entry{}, nil
	}
	if err != nil {
		return admit.Entry{}, &reason.Error{Code: reason.FileUnreadable, What: "read the lock " + name, Err: err}
	}
	l, err := admit.ParseLock(raw, name)
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

// locking runs f while nobody else changes a lock of this host.
func locking(d dirs, f func() error) error { return holding(d.locks(), f) }

// holding runs f while nobody else does so for the same folder, which is made.
func holding(folder string, f func() error) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return &reason.Error{Code: reason.FileUnwritable, What: "make the folder " + folder, Err: err}
	}
	return alone(folder, f)
}

// alone runs f while nobody else does so in the same folder.
func alone(folder string, f func() error) error {
	dir, err := file.Folder(folder)
	if err == nil {
		defer dir.Close()
		err = file.Lock(dir, false, true)
	}
	if err != nil {
		return &reason.Error{Code: reason.FileUnwritable, What: "lock the folder " + folder, Err: err}
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
	return replaceFile(pinFile(d, ref), l.Encode(), 0o600)
}
