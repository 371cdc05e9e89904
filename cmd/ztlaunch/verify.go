package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
	"github.com/ztlaunch/ztlaunch/verify/steps"
)

// verifyVerb makes the decision that run would make, and runs nothing.
func verifyVerb(ctx context.Context, w world, args []string) (status int) {
	fs := newFlags("verify", true)
	var t trustFlags
	var from fetchFlags
	var chain layoutFlags
	words := fs.StringArray("report", nil, "FMT or FMT=PATH, repeatable: "+strings.Join(report.Formats(), ", ")+"; one without PATH")
	audited := fs.Bool("audit", false, "record each decision in the audit log")
	as := fs.String("as", "", "the name that the policy knows a folder or archive by")
	kind := fs.String("kind", "image", "image or server: by which rules an image is judged")
	t.declare(fs)
	from.declare(fs)
	chain.declare(fs)
	if err := w.parse(fs, "[flags] [REF...]   (without REF: every entry of ./"+lockFile+")", args); err != nil {
		return w.parsed("verify", err)
	}
	if w.json {
		*words = append([]string{"json"}, *words...)
	}
	to, err := w.reports(*words)
	if err != nil {
		return w.fail("verify", err)
	}
	defer func() {
		if fault := recover(); fault != nil { // no older report stands for this
			to.write(w, "verify", report.Failed("the command", &reason.Error{Code: reason.InternalFault, What: "verify", Found: fmt.Sprint(fault)}))
			status = w.broke("verify", nil, fault) // JSON was written as a verdict
		}
	}()
	if (*as != "" && fs.NArg() != 1) || fs.NArg() == 0 && fs.Changed("kind") {
		return to.write(w, "verify", report.Failed("the command", wrong("read the command", "references, or none for ./"+lockFile+"; --as with one; --kind with references", "ztlaunch verify REF")))
	}
	var log *audit.Log
	if *audited {
		if log, err = audit.Open(w.dirs().audit(), w.dirs().trust(), w.now()); err != nil {
			return to.write(w, "verify", report.Failed("the audit log", err))
		}
		defer func() { _ = log.Close() }() // every record was synced when it was written
	}
	files, err := chain.files()
	if err != nil {
		return to.write(w, "verify", report.Failed("the command", err))
	}
	d := decider{w: w, trust: &t, from: &from, log: log, chain: files}
	if fs.NArg() == 0 {
		return to.write(w, "verify", d.locked(ctx)...)
	}
	var all []report.Verdict
	for _, word := range fs.Args() {
		all = append(all, d.word(ctx, word, *as, *kind))
	}
	return to.write(w, "verify", all...)
}

// decider makes decisions by the flags of one command.
type decider struct {
	w     world
	trust *trustFlags
	from  *fetchFlags
	chain steps.Files // the in-toto layout, for policies that demand one
	log   *audit.Log  // of each decision; nil for none
}

// word decides about what a word of the command line refers to.
func (d decider) word(ctx context.Context, word, as, kind string) report.Verdict {
	ref, err := kindRef(word, as, kind)
	if err != nil {
		return report.Failed(word, err)
	}
	_, v := d.decide(ctx, word, ref)
	return v
}

// locked decides about every entry of the project's lock, as it is locked.
func (d decider) locked(ctx context.Context) []report.Verdict {
	p, err := readProject()
	if err == nil {
		err = p.some()
	}
	if err != nil {
		return []report.Verdict{report.Failed(lockFile, err)}
	}
	var all []report.Verdict
	for _, e := range p.lock.Entries() {
		all = append(all, d.hold(ctx, p, e))
	}
	return all
}

// decide decides about one reference. Without a decision the report is zero.
func (d decider) decide(ctx context.Context, word string, ref artifact.Reference) (verify.Report, report.Verdict) {
	in, err := d.w.inputs(d.trust, d.from, policy.Run, ref)
	if err != nil {
		return verify.Report{}, report.Failed(word, err)
	}
	in.Layout = d.chain
	if ref.Path() != "" { // what lies there may be shipped, whatever the store has; --pull is about registries
		in.Fetch.Pull = fetch.Always
	}
	var r verify.Report
	switch ref.Kind() {
	case artifact.Image, artifact.MCP:
		var done func()
		in.Fetch.Progress, done = progress()
		r, err = verify.Image(ctx, ref, in)
		done()
	case artifact.Model:
		r, _, err = verify.Model(ctx, ref, in)
	default:
		err = wrong("verify "+word, "an image, a model folder or a server image", "")
	}
	if err == nil && d.log != nil {
		err = d.log.Append(decisionRecord("verify", d.w.now(), ref, r, d.trust.believed()))
	}
	if err != nil {
		return verify.Report{}, report.Failed(word, err)
	}
	return r, report.Of(r.Decision, report.Origin{Local: r.Local, RootDate: in.Root.Date()})
}
