package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
)

// lockFile is the project's lock, in the working folder: a file that people review and
// keep with their task files. The host's locks of tags are something else (pinFile).
const lockFile = "ztlaunch.lock"

// project is the lock of the working folder.
type project struct {
	lock admit.Lock
	file string // absolute
}

// readProject reads the project's lock; it is lock-absent where there is none.
func readProject() (project, error) {
	file, err := filepath.Abs(lockFile)
	if err != nil {
		return project{}, &reason.Error{Code: reason.FileUnreadable, What: "find " + lockFile, Err: err}
	}
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return project{file: file}, &reason.Error{Code: reason.LockAbsent, What: "read " + lockFile,
			Expected: lockFile + " in the working folder, or references", Found: "none in " + filepath.Dir(file), Next: "ztlaunch lock REF..., or ztlaunch lock -f TASK"}
	}
	raw, err := readPlain(file, form.MaxSize)
	if err != nil {
		return project{}, err
	}
	l, err := admit.ParseLock(raw, lockFile)
	return project{l, file}, err
}

// some refuses a lock without entries: it would hold whatever is there.
func (p project) some() error {
	if len(p.lock.Entries()) > 0 {
		return nil
	}
	return &reason.Error{Code: reason.LockEmpty, What: "read " + lockFile, Expected: "at least one entry", Found: "none", Next: "ztlaunch lock REF..., or ztlaunch lock -f TASK"}
}

// called are the entries that people mean by a word.
func (p project) called(word string) []admit.Entry {
	var out []admit.Entry
	for _, e := range p.lock.Entries() {
		if e.Called(word) {
			out = append(out, e)
		}
	}
	return out
}

// missing says that the lock has no such entry.
func missing(word string) error {
	return &reason.Error{Code: reason.LockMissing, What: "find " + word + " in " + lockFile, Expected: "an entry of that name", Found: "none", Next: "ztlaunch lock " + reason.Word(word)}
}

// typed adds the flags in use to a command that a refusal proposes.
func typed(err error, flags string) error {
	if e, ok := reason.Of(err); ok && strings.HasPrefix(e.Next, "ztlaunch lock ") {
		e.Next += flags
	}
	return err
}

// outdated is what a moved name is to the project's lock.
func outdated(e admit.Entry, err error) error {
	r, ok := reason.Of(err)
	if !ok || r.Code != reason.TagMoved {
		return err
	}
	behind := *r
	behind.Code, behind.Next = reason.LockOutdated, "ztlaunch lock --update "+reason.Word(e.Tagged())
	return &behind
}

// narrowed refuses an artifact that the lock of the working folder has under another
// digest. Such a lock grants nothing and leads nowhere: what a name means is found
// without it, and may then not be what the project agreed on; another platform of an
// agreed index is. One that cannot be read refuses everything.
func narrowed(a artifact.Artifact, flags string) error {
	p, err := readProject()
	if e, ok := reason.Of(err); ok && e.Code == reason.LockAbsent {
		return nil
	}
	if err != nil {
		return err
	}
	e, ok := p.lock.Find(a.Kind(), a.Ref().Name(), a.Ref().Tag())
	if !ok {
		return nil
	}
	return typed(outdated(e, e.Extended(a).Resolves(a)), flags)
}

// hold decides about an entry at its locked digest, and holds what is admitted against
// the entry.
func (d decider) hold(ctx context.Context, p project, e admit.Entry) report.Verdict {
	ref, err := e.Reference()
	if err != nil {
		return report.Failed(e.Name, err).At(p.file, e.Line)
	}
	v, _ := d.held(ctx, ref, e)
	return v.At(p.file, e.Line)
}

// held decides about a reference at the digest that it is locked to. The admission is
// zero unless it is what was locked, and admitted.
func (d decider) held(ctx context.Context, ref artifact.Reference, e admit.Entry) (report.Verdict, admit.Admission) {
	r, v := d.at(ctx, ref, e)
	return d.agree(r, v, e)
}

// at decides about a reference at its locked digest.
func (d decider) at(ctx context.Context, ref artifact.Reference, e admit.Entry) (verify.Report, report.Verdict) {
	at := locked(ref, e, d.pull())
	return d.decide(ctx, at.String(), at)
}

// agree holds a decision against an entry.
func (d decider) agree(r verify.Report, v report.Verdict, e admit.Entry) (report.Verdict, admit.Admission) {
	if r.Artifact.Zero() {
		return v, admit.Admission{}
	}
	var a admit.Admission
	err := e.Resolves(r.Artifact)
	if err == nil {
		if !r.Decision.Allowed() {
			return v, a
		}
		if a, err = d.admit(r); err == nil {
			err = e.Compare(a)
		}
	}
	if err == nil {
		return v, a
	}
	err = typed(outdated(e, err), d.trust.words())
	v = v.Refused(err)
	if d.log != nil {
		rec := decisionRecord("verify", d.w.now(), r.Artifact.Ref(), r, d.trust.believed())
		rec.Kind = audit.Denial
		if why, ok := reason.Of(err); ok {
			rec.Codes, rec.Expected, rec.Found, rec.Note = []reason.Code{why.Code}, why.Expected, why.Found, why.What
		}
		if err := d.log.Append(rec); err != nil {
			v = v.Refused(err)
		}
	}
	return v, admit.Admission{}
}

func (d decider) pull() fetch.Pull {
	pull, _ := fetch.ParsePull(d.from.pull) // a wrong word is refused when something is fetched
	return pull
}

func (d decider) admit(r verify.Report) (admit.Admission, error) {
	return admit.Admit(r.Decision, r.Artifact, r.Tree, policy.Run, d.w.now(), admissionAge)
}

// wanted is one artifact that is to be in the project's lock.
type wanted struct {
	word string
	ref  artifact.Reference
}

// want reads what a lock verb is about: the references, and what a task file names.
func want(words []string, as, kind, task string) ([]wanted, error) {
	var all []wanted
	add := func(word string, ref artifact.Reference, err error) error {
		if err == nil && ref.Kind() == 0 {
			err = wrong("lock "+word, "an image, a model folder or a server image", "")
		}
		if err != nil {
			return err
		}
		key := func(r artifact.Reference) string { return fmt.Sprint(r.Kind(), " ", r.Name(), ":", r.Tag()) }
		if i := slices.IndexFunc(all, func(o wanted) bool { return key(o.ref) == key(ref) }); i >= 0 {
			if all[i].ref != ref {
				return wrong("lock "+word, "one artifact for each name and tag, found "+all[i].ref.String()+" too", "")
			}
			return nil
		}
		all = append(all, wanted{word, ref})
		return nil
	}
	for _, word := range words {
		ref, err := kindRef(word, as, kind)
		if err := add(word, ref, err); err != nil {
			return nil, err
		}
	}
	if task == "" {
		return all, nil
	}
	f, err := readTask(task)
	if err != nil {
		return nil, err
	}
	ref, err := parseRef(f.image, "")
	if err := add(f.image, ref, err); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(f.models)) {
		at, policyName := f.model(f.models[name])
		ref, err := parseRef("model:"+at, policyName)
		if err := add(f.models[name], ref, err); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.servers)) {
		ref, err := parseRef(f.servers[name], "")
		if err := add(f.servers[name], ref.As(artifact.MCP), err); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// wanted are entries, as references that are not pinned.
func (p project) wanted(entries []admit.Entry) ([]wanted, error) {
	var all []wanted
	for _, e := range entries {
		ref, err := e.Reference()
		if err != nil {
			return nil, err
		}
		all = append(all, wanted{ref.String(), ref})
	}
	return all, nil
}

// find is the entry of something wanted.
func (p project) find(x wanted) (admit.Entry, bool) {
	return p.lock.Find(x.ref.Kind(), x.ref.Name(), x.ref.Tag())
}

// check holds what is wanted, or else every entry, against the lock and the policy.
// It writes nothing.
func (d decider) check(ctx context.Context, p project, all []wanted) []report.Verdict {
	var out []report.Verdict
	for _, x := range all {
		e, ok := p.find(x)
		if !ok {
			out = append(out, report.Failed(x.word, typed(missing(x.word), d.trust.words())))
			continue
		}
		v, _ := d.held(ctx, x.ref, e)
		out = append(out, v.At(p.file, e.Line))
	}
	return out
}

// change is what became of one entry.
type change struct {
	ref   artifact.Reference
	was   admit.Entry // zero for a new one
	entry admit.Entry
	found verify.Report
}

// settle decides about everything that is wanted: what is locked at its locked digest,
// or, to move it, where its name leads now. The changes are good only if all verdicts
// are.
func (d decider) settle(ctx context.Context, p project, all []wanted, move bool) ([]change, []report.Verdict) {
	if move {
		always := *d.from
		always.pull = "always"
		d.from = &always
	}
	var out []change
	var said []report.Verdict
	for _, x := range all {
		was, known := p.find(x)
		c := change{ref: x.ref, was: was}
		var v report.Verdict
		var a admit.Admission
		if known && !move {
			r, said := d.at(ctx, x.ref, was)
			v, a = d.agree(r, said, was.Extended(r.Artifact))
		} else {
			c.found, v = d.decide(ctx, x.word, x.ref)
			if c.found.Decision.Allowed() {
				var err error
				if a, err = d.admit(c.found); err != nil {
					v = v.Refused(err)
				}
			}
		}
		if !a.Zero() {
			var err error
			if c.entry, err = admit.NewEntry(a); err != nil {
				v = v.Refused(err)
			}
			if known {
				if c.entry = (admit.Lock{}).With(was).With(c.entry).Entries()[0]; c.entry.Same(was) {
					c.entry = was // as it was first found
				}
			}
			out = append(out, c)
		}
		if known {
			v = v.At(p.file, was.Line)
		}
		said = append(said, v)
	}
	return out, said
}

// write puts the changes in the project's lock as it is by now, and moves this host's
// locks of the same tags, where there are any. Records come first.
func (d decider) write(p project, changes []change, move bool) error {
	dirs := d.w.dirs()
	return alone(filepath.Dir(p.file), func() error {
		now, err := readProject()
		if e, ok := reason.Of(err); ok && e.Code == reason.LockAbsent {
			err = nil
		}
		if err != nil {
			return err
		}
		l := now.lock
		for _, c := range changes {
			l = l.With(c.entry)
		}
		for _, c := range changes {
			if !move || !lockable(c.ref) {
				continue
			}
			pinned, err := readPin(dirs, c.ref)
			if err == nil && pinned.Digest != "" && pinned.Digest != c.entry.Digest {
				err = d.repin(c)
			}
			if err != nil {
				return err
			}
		}
		return replaceFile(p.file, l.Encode(), 0o644)
	})
}

// repin moves this host's lock of a tag to what the project's now says.
func (d decider) repin(c change) error {
	log, err := audit.Open(d.w.dirs().audit(), d.w.dirs().trust(), d.w.now())
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // every record was synced when it was written
	if err := log.Append(decisionRecord("lock", d.w.now(), c.ref, c.found, d.trust.believed())); err != nil {
		return err
	}
	_, err = d.w.movePin(c.ref, c.found, c.entry, d.trust, log)
	return err
}
