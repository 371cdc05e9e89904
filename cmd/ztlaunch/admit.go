package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

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

// admissionAge bounds how long an admission may be acted on.
const admissionAge = 15 * time.Minute

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
	if err := narrowed(report.Artifact); err != nil {
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

// decisionRecord is the audit record of a decision, allowed or denied; believed is
// whom the command line named in place of a policy file.
func decisionRecord(verb string, now time.Time, ref artifact.Reference, report verify.Report, believed string) audit.Record {
	sum, _ := report.Decision.Policy()
	rec := audit.Record{Time: now, Kind: audit.Decision, Actor: actor(), Verb: verb, Purpose: string(policy.Run),
		Policy: sum, Trust: report.Decision.Root(), Parts: []audit.Part{{Role: ref.Kind().String(), Name: ref.Name(),
			Digest: report.Artifact.Digest(), Tree: report.Tree.Digest(), Signers: signers(report), Evidence: envelopes(report)}}}
	rec.Note = believed
	if report.Decision.Allowed() {
		if adopted, _ := report.Decision.Adopted(); adopted {
			rec.Note = noteAdopted
		}
		return rec
	}
	rec.Kind = audit.Denial
	for _, f := range report.Decision.Findings() {
		if !f.Pass && !f.Skipped {
			rec.Codes = append(rec.Codes, f.Code)
			if rec.Rule == "" {
				rec.Rule, rec.Expected, rec.Found = f.Rule, f.Expected, f.Found
			}
		}
	}
	return rec
}

// noteAdopted says in a record that the operator vouched for the image.
const noteAdopted = "adopted"

func signers(r verify.Report) []string {
	var all []string
	for _, p := range r.Decision.Proved() {
		all = append(all, p.Signer.String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func envelopes(r verify.Report) []digest.Digest {
	var all []digest.Digest
	for _, c := range r.Claims {
		all = append(all, c.Envelope())
	}
	return all
}

// denial is the first failed finding of a decision as a refusal.
func denial(d policy.Decision) error {
	for _, f := range d.Findings() {
		if !f.Pass && !f.Skipped {
			return &reason.Error{Code: f.Code, What: "admit " + d.Artifact().Ref().String() + " by " + f.Rule,
				Expected: f.Expected, Found: f.Found, Next: f.Next}
		}
	}
	return &reason.Error{Code: reason.InternalFault, What: "admit", Expected: "a finding that explains the denial"}
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
