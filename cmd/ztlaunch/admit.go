//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// admitted is one artifact that may be launched, and where its bytes are.
type admitted struct {
	admission admit.Admission
	tree      tree.Tree
	store     *content.Store
	spool     *rootfs.Spool // of an image
	folder    string        // of a model
	local     bool          // no socket was opened
	adopted   bool          // by the operator's own word
}

// admit verifies one artifact, records the decision, and admits it. A tag that
// was admitted before means the digest that was admitted then.
func (r *runner) admit(ctx context.Context, d dirs, ref artifact.Reference) (admitted, error) {
	in, err := r.w.inputs(&r.flags.trustFlags, &r.flags.fetchFlags, policy.Run, ref)
	if err != nil {
		return admitted{}, r.deny(err, nil)
	}
	in.Layout = r.layout
	a := admitted{store: in.Fetch.Store}
	var report verify.Report
	var pinned admit.Entry
	switch ref.Kind() {
	case artifact.Image, artifact.MCP:
		if a.spool, err = rootfs.NewSpool(d.spool()); err != nil {
			return admitted{}, r.deny(err, nil)
		}
		r.later(func() { _ = a.spool.Close() }) // nameless files: they go with the descriptors
		in.Scan = a.spool
		if pinned, err = readPin(d, ref); err != nil {
			return admitted{}, r.deny(err, nil)
		}
		var done func()
		in.Fetch.Progress, done = progress()
		report, err = verify.Image(ctx, locked(ref, pinned, in.Fetch.Pull), in)
		done()
	case artifact.Model:
		report, a.folder, err = verify.Model(ctx, ref, in)
	default:
		err = &reason.Error{Code: reason.InternalFault, What: "verify " + ref.String(), Expected: "an image, a model or a server"}
	}
	if err != nil {
		return admitted{}, r.deny(err, nil)
	}
	a.tree, a.local = report.Tree, report.Local
	a.adopted, _ = report.Decision.Adopted()
	r.records.begin(decisionRecord("run", r.w.now(), ref, report, r.flags.believed()))
	r.outcome.decision(report)
	if moved := pinned.Digest != "" && pinned.Digest != cmp.Or(report.Artifact.Index(), report.Artifact.Digest()); moved {
		return admitted{}, r.deny(pinned.Resolves(report.Artifact), nil)
	}
	if err := narrowed(report.Artifact, r.flags.words()); err != nil {
		return admitted{}, r.deny(err, nil)
	}
	if !report.Decision.Allowed() {
		return admitted{}, errors.Join(denial(report.Decision), r.records.settle())
	}
	if a.admission, err = admit.Admit(report.Decision, report.Artifact, report.Tree, policy.Run, r.w.now(), admissionAge); err != nil {
		return admitted{}, r.deny(err, nil)
	}
	if lockable(ref) {
		if err = r.records.settle(); err == nil {
			err = writePin(d, ref, pinned, a.admission)
		}
	}
	if err != nil {
		return admitted{}, r.deny(err, &a)
	}
	return a, nil
}

// deny records why nothing was launched and passes the error on.
func (r *runner) deny(err error, a *admitted) error {
	if r.records == nil {
		return err
	}
	rec := r.record(audit.Denial, "", a)
	if e, ok := reason.Of(err); ok {
		rec.Codes, rec.Expected, rec.Found, rec.Note = []reason.Code{e.Code}, e.Expected, e.Found, e.What
	}
	return errors.Join(err, r.records.add(rec))
}

// record starts an audit record about an admitted image.
func (r *runner) record(kind audit.Kind, task string, a *admitted) audit.Record {
	rec := audit.Record{Time: r.w.now(), Kind: kind, Task: task, Actor: actor(), Verb: "run", Purpose: string(policy.Run)}
	if a != nil && !a.admission.Zero() {
		art := a.admission.Artifact()
		rec.Policy, rec.Trust = a.admission.PolicyDigest(), a.admission.RootDigest()
		rec.Parts = []audit.Part{{Role: art.Kind().String(), Name: art.Ref().Name(), Digest: art.Digest(),
			Tree: a.admission.Tree(), Signers: a.admission.Signers()}}
		if a.adopted {
			rec.Note = noteAdopted
		}
	} else if !r.subject.Zero() {
		rec.Parts = []audit.Part{{Role: r.subject.Kind().String(), Name: r.subject.String()}}
	}
	return rec
}
