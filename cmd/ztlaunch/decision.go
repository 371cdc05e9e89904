package main

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// admissionAge bounds how long an admission may be acted on.
const admissionAge = 15 * time.Minute

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
	for _, p := range r.Decision.Proved() { // an in-toto layout is no claim
		if !slices.Contains(all, p.Envelope) {
			all = append(all, p.Envelope)
		}
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
