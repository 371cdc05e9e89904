package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/sbom"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Input is everything that a decision depends on besides the policy.
type Input struct {
	Artifact artifact.Artifact
	Tree     tree.Tree
	Claims   []evidence.Claim
	Places   map[digest.Digest]string // where the envelope of a claim was found, in words; decides nothing
	Unproved []Unproved
	Problems []*reason.Error // of discovery: with any, what is missing may only be out of sight
	// Coverages holds the result of Cover by envelope, for claims whose result
	// was kept. Evaluate computes what is missing.
	Coverages map[digest.Digest]sbom.Coverage
	// Formats is the format of each file of a model, by content and path;
	// Plain for a file that holds no weights.
	Formats map[string]string
	// Layout is the in-toto layout that was given, proved; LayoutRefused is why it
	// does not prove. Without a layout both are zero.
	Layout        steps.Outcome
	LayoutRefused *reason.Error
	Now           time.Time
	Purpose       Purpose
	Root          digest.Digest // of the trust.Root that proved the claims
	// Feed is the deny feed that the policy names, proved; FeedRefused is why there is
	// none to believe, which denies. For a policy that names none both are zero.
	Feed        Feed
	FeedRefused *reason.Error

	rehearsal bool // Rehearse asks: claims may be supposed
}

// Plain is the format of a model's file that holds no weights.
const Plain = "plain"

// Unproved is an envelope that was found and does not prove.
type Unproved struct {
	Envelope digest.Digest
	Where    string
	Type     string // the predicate type it names, unproved; "" if unknown
	Err      *reason.Error
}

// Evaluate holds an artifact against a policy. It never fails: an input that
// cannot be decided on ends in a Decision that denies.
func Evaluate(p Policy, in Input) Decision {
	e := evaluation{policy: p, in: in}
	e.out = Decision{purpose: in.Purpose, artifact: in.Artifact, tree: "", policy: p.sum, path: p.path,
		root: in.Root, feed: in.Feed, at: in.Now, box: p.box.clone()}
	if missing := in.missing(p); missing != "" {
		e.out.purpose = "none"
		e.fail(Finding{What: "decision", Code: reason.DecisionInput, Found: "no " + missing})
		return e.out
	}
	e.out.tree = in.Tree.Digest()
	if why := in.FeedRefused; why != nil && p.feed.file != "" {
		e.fail(Finding{Rule: "denyFeed", Line: p.feed.line, What: "deny feed", Code: why.Code, Expected: why.Expected, Found: clip(cmp.Or(why.Found, why.Error())), Next: why.Next})
		return e.out // without it nothing else counts
	}
	e.denied()
	if e.applies() {
		for _, r := range e.rules {
			e.rule(r)
		}
	}
	e.spare()
	return e.out
}

func (in Input) missing(p Policy) string {
	switch {
	case p.Zero():
		return "policy"
	case in.Artifact.Zero():
		return "artifact"
	case in.Tree.Zero():
		return "tree"
	case in.Now.IsZero():
		return "time"
	case in.Root == "":
		return "root of trust"
	case !in.rehearsal && slices.ContainsFunc(in.Claims, evidence.Claim.Supposed):
		return "proof of a claim"
	case in.Purpose != Run && in.Purpose != Pin && in.Purpose != Record:
		return "purpose"
	case !in.rehearsal && in.Layout.Supposed():
		return "proof of the in-toto layout"
	case !in.rehearsal && in.Feed.Supposed():
		return "signature of the deny feed"
	case p.feed.file != "" && in.FeedRefused == nil && (in.Feed.Zero() || in.Feed.policy != p.sum):
		return "deny feed that the policy believes"
	case section(in.Artifact.Kind()) == "":
		return "kind of artifact that rules exist for"
	}
	return ""
}

// evaluation is one run of Evaluate.
type evaluation struct {
	policy Policy
	in     Input
	rules  []rule  // that apply
	met    []basis // of the rule at hand
	asked  bool    // for a layout
	out    Decision
}

func (e *evaluation) fail(f Finding) {
	f.Pass = false
	e.out.findings = append(e.out.findings, f)
}

func (e *evaluation) pass(f Finding) {
	f.Pass = true
	e.out.findings = append(e.out.findings, f)
}

// ends notes that something the decision rests on runs out.
func (e *evaluation) ends(t time.Time) {
	if !t.IsZero() && (e.out.until.IsZero() || t.Before(e.out.until)) {
		e.out.until = t
	}
}

// denied asks the policy's own list and the feed. Both beat every rule.
func (e *evaluation) denied() {
	all := parts(e.in.Artifact, e.in.Tree)
	e.out.parts = all
	if n := len(e.policy.deny); n > 0 {
		f := Finding{Rule: "deny", What: "deny list", Expected: "no digest of the artifact on the list", Found: fmt.Sprintf("none of %d", n)}
		if i := slices.IndexFunc(all, func(d digest.Digest) bool { return slices.Contains(e.policy.deny, d) }); i >= 0 {
			f.Code, f.Found = reason.DigestDenied, all[i].String()
			f.Next = "use another version; the policy's deny list names this one"
			e.fail(f)
		} else {
			e.pass(f)
		}
	}
	if feed := e.in.Feed; !feed.Zero() {
		f := Finding{Rule: "denyFeed", Line: e.policy.feed.line, What: "no digest in " + feed.title(), Found: fmt.Sprintf("none of %d", len(feed.Denied))}
		if !feed.Issued.IsZero() {
			f.Found += fmt.Sprintf("; issued %s, %s ago", stamp(feed.Issued), span(max(0, e.in.Now.Sub(feed.Issued))))
		}
		e.ends(feed.Until)
		failed := false
		for _, why := range []*fault{feed.part(all), feed.stale(e.in.Now)} {
			if why != nil {
				f.Code, f.Expected, f.Found, f.Next, failed = why.code, why.expected, why.found, why.next, true
				e.fail(f)
			}
		}
		if !failed {
			e.pass(f)
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// applies collects the rules for this name and digest.
func (e *evaluation) applies() bool {
	a := e.in.Artifact
	var others []digest.Digest // under which the name was adopted
	var at rule
	for _, r := range e.policy.rules {
		if r.kind != a.Kind() || !r.match.matches(a.Ref().Name()) {
			continue
		}
		if r.digests != nil && !slices.ContainsFunc(r.digests, func(d digest.Digest) bool { return slices.Contains(a.Subjects(), d) }) {
			others, at = append(others, r.digests...), r
			continue
		}
		e.rules = append(e.rules, r)
	}
	name := a.Ref().Name()
	switch {
	case len(e.rules) > 0:
		return true
	case len(others) > 0:
		e.fail(Finding{Rule: at.where + ".digests", Line: at.line, What: "digest of " + name, Code: reason.DigestNotAdopted,
			Expected: list(others), Found: list(a.Subjects()),
			Next: "ztlaunch adopt " + reason.Word(a.Ref().String()) + " --as " + name})
	default:
		if name == "" {
			name = "(unnamed)"
		}
		e.fail(Finding{Rule: section(a.Kind()), What: "rule for " + name, Code: reason.PolicyNoMatch,
			Expected: "a rule under " + section(a.Kind()) + ": whose match is " + name, Found: fmt.Sprintf("none of %d", e.count(a.Kind())),
			Next: e.unmatched()})
	}
	return false
}

func (e *evaluation) count(k artifact.Kind) (n int) {
	for _, r := range e.policy.rules {
		if r.kind == k {
			n++
		}
	}
	return n
}

// rule runs one rule's own checks and its demands.
func (e *evaluation) rule(r rule) {
	if r.digests != nil {
		e.out.adopted = append(e.out.adopted, r.reason)
		e.pass(Finding{Rule: r.where + ".digests", Line: r.line, What: "adopted digest", Found: list(e.in.Artifact.Subjects())})
	}
	if !r.until.IsZero() {
		f := Finding{Rule: r.where + ".until", Line: r.line, What: "rule still in force", Expected: "before " + stamp(r.until), Found: stamp(e.in.Now)}
		if e.in.Now.Before(r.until) {
			e.pass(f)
			e.ends(r.until)
		} else {
			f.Code, f.Next = reason.RuleExpired, "until: "+e.in.Now.UTC().AddDate(0, 0, 30).Format(time.DateOnly)
			e.fail(f)
		}
	}
	if r.formats != nil {
		e.formats(r)
	}
	e.met = nil
	for _, d := range r.demands {
		e.demand(d)
	}
	e.floor(r, e.met)
}

// formats holds each file's format against the rule.
func (e *evaluation) formats(r rule) {
	f := Finding{Rule: r.where + ".formats", Line: r.line, What: "model formats", Expected: words(r.formats)}
	files := 0
	var unread, denied []string
	for entry := range e.in.Tree.Entries() {
		if entry.Type != tree.File || entry.Origin == tree.Ours {
			continue
		}
		files++
		switch format, ok := e.in.Formats[entry.Path]; {
		case !ok:
			unread = append(unread, entry.Path)
		case format != Plain && !slices.Contains(r.formats, format):
			denied = append(denied, fmt.Sprintf("%s (%.40q)", filePath(entry.Path), format))
		}
	}
	switch {
	case denied != nil:
		f.Code, f.Found, f.Next = reason.ModelFormatDenied, some(denied), "convert the file to "+r.formats[0]+", or remove it, and sign anew"
		e.fail(f)
	case unread != nil:
		f.Code, f.Found, f.Next = reason.ModelFormatUnread, "format not read: "+some(quoted(unread)), "ztlaunch doctor"
		e.fail(f)
	default:
		f.Found = fmt.Sprintf("%d files", files)
		e.pass(f)
	}
}
