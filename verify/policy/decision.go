package policy

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
)

// Purpose is what an artifact is to be admitted for.
type Purpose string

// The purposes. Pin passes over the pin demand, which cannot be met before the
// server's surface was recorded; every other demand stands for all three.
const (
	Run    Purpose = "run"
	Pin    Purpose = "pin"
	Record Purpose = "record"
)

// Finding is the outcome of one check.
type Finding struct {
	Rule     string      // where the check stands: "images[0].require[1].provenance", "deny"
	Line     int         // in the policy file; 0 if it stands nowhere
	What     string      // what was asked: "signature by release"
	Code     reason.Code // of a failure, else ""
	Pass     bool
	Skipped  bool // neither passed nor failed: not asked for this purpose
	Expected string
	Found    string
	Next     string          // the exact command, or the smallest change of the policy
	Signers  []string        // identities that met the demand, in the policy's words
	Evidence []digest.Digest // envelopes that decided
}

// Proved is one claim that met a demand.
type Proved struct {
	Identity  string // the policy's name
	Signer    evidence.Signer
	Predicate string        // predicate type
	Subject   digest.Digest // what was signed
	Index     bool          // the subject is the index, not the manifest that runs
	Time      time.Time     // proved, or zero
	Source    evidence.TimeSource
	Logs      []string // transparency logs that hold it, by ID
	Envelope  digest.Digest

	claim evidence.Claim
}

// Vouched counts the artifact's files by who vouches for their bytes. It is
// zero when no rule demands an SBOM.
type Vouched struct {
	SBOM      digest.Digest // the envelope of the SBOM that was held against the tree
	Files     int           // regular files compared
	Listed    int           // listed with their sha256
	ByPackage int           // listed without sha256, under an owning package
	Excepted  int           // vouched for by the policy's exceptions
	Uncovered int           // outside of what the rule covers
}

// Decision is what a policy says about an artifact. Only Evaluate makes one;
// the zero value allows nothing.
type Decision struct {
	purpose  Purpose
	artifact artifact.Artifact
	tree     digest.Digest
	policy   digest.Digest
	path     string
	root     digest.Digest
	feed     Feed
	parts    []digest.Digest
	at       time.Time
	findings []Finding
	met      int // demands that passed
	proved   []Proved
	steps    []steps.Step // of the in-toto layout that met a demand
	vouched  Vouched
	adopted  []string
	pin      json.RawMessage
	until    time.Time
	box      Box
}

// Zero reports whether the decision was made by anything but Evaluate.
func (d Decision) Zero() bool { return d.purpose == "" }

// Allowed reports whether every check passed, at least one demand among them.
func (d Decision) Allowed() bool {
	return !d.Zero() && d.met > 0 &&
		!slices.ContainsFunc(d.findings, func(f Finding) bool { return !f.Pass && !f.Skipped })
}

// Exit is the exit status of a verb that ends with this decision.
func (d Decision) Exit() int {
	if d.Allowed() {
		return 0
	}
	status := 0
	for _, f := range d.findings {
		if !f.Pass && !f.Skipped {
			status = reason.Worst(status, f.Code.Class().Exit())
		}
	}
	if status == 0 {
		return reason.Internal.Exit()
	}
	return status
}

// Findings are all checks, in the order of the policy.
func (d Decision) Findings() []Finding { return slices.Clone(d.findings) }

// Artifact is what was decided about.
func (d Decision) Artifact() artifact.Artifact { return d.artifact }

// Tree is the digest of the tree that was decided about.
func (d Decision) Tree() digest.Digest { return d.tree }

// Policy is the digest of the policy, and the path it came from.
func (d Decision) Policy() (sum digest.Digest, path string) { return d.policy, d.path }

// Root is the digest of the root of trust that the claims were proved with.
func (d Decision) Root() digest.Digest { return d.root }

// Feed is the deny feed that was consulted; its Serial is 0 if there was none.
func (d Decision) Feed() Feed { return d.feed }

// Denied asks a deny feed about what was decided: digest-denied, signer-denied,
// certificate-denied or log-denied when the feed names what the decision rests on, and
// deny-feed-stale when it is past its end.
func (d Decision) Denied(feed Feed, now time.Time) error {
	if feed.Zero() {
		return nil
	}
	if feed.Supposed() {
		return &reason.Error{Code: reason.DecisionInput, What: "ask " + feed.title(), Expected: "a deny feed that somebody signed", Found: "one that is supposed"}
	}
	why := feed.part(d.parts)
	for _, p := range d.proved {
		switch {
		case why != nil:
		case p.claim.Zero(): // an in-toto layout
			why = feed.signer(p.Signer)
		default:
			why = feed.claim(p.claim)
		}
	}
	if why == nil {
		why = feed.steps(d.steps)
	}
	if why == nil {
		why = feed.stale(now)
	}
	if why == nil {
		return nil
	}
	return &reason.Error{Code: why.code, What: "ask " + feed.title() + " about " + d.artifact.Ref().String(), Expected: why.expected, Found: why.found, Next: why.next}
}

// Purpose is what the decision is for.
func (d Decision) Purpose() Purpose { return d.purpose }

// Time is when the decision was made.
func (d Decision) Time() time.Time { return d.at }

// Proved are the claims that met demands, in the order of the policy.
func (d Decision) Proved() []Proved { return slices.Clone(d.proved) }

// Vouched counts the files that the SBOM vouches for.
func (d Decision) Vouched() Vouched { return d.vouched }

// Adopted reports whether a rule with exact digests applied, and the reasons
// that such rules give.
func (d Decision) Adopted() (bool, []string) { return d.adopted != nil, slices.Clone(d.adopted) }

// Pin is the predicate of the pin that met a pin demand, else nil.
func (d Decision) Pin() json.RawMessage { return slices.Clone(d.pin) }

// Until is the earliest moment at which one of the decision's own inputs runs
// out (a maxAge, a rule's until, the deny feed); zero if none does.
func (d Decision) Until() time.Time { return d.until }

// Box is the policy's ceiling.
func (d Decision) Box() Box { return d.box.clone() }
