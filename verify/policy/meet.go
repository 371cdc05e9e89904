package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/model"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// fault is one way in which a claim by the right signer does not meet a demand.
type fault struct {
	code                  reason.Code
	expected, found, next string
}

// judged is a claim by an identity that the demand names.
type judged struct {
	claim    evidence.Claim
	identity int // index into by
	faults   []fault
	denied   bool      // by the deny feed: its one fault
	vouched  Vouched   // sbom only
	until    time.Time // when it becomes too old; zero = never
}

// stranger is a claim by nobody that the demand names.
type stranger struct {
	claim       evidence.Claim
	nearest     Identity
	differences []Difference
}

// demand holds the claims against one demand.
func (e *evaluation) demand(d demand) {
	f := Finding{Rule: d.where, Line: d.line, What: string(d.word) + " by " + d.who.String()}
	if d.word == pin && e.in.Purpose == Pin {
		f.Skipped, f.Found = true, "not asked for: this run records the surface"
		e.out.findings = append(e.out.findings, f)
		return
	}
	if d.word == layout {
		e.layout(d, f)
		return
	}
	good, bad, strangers := e.sort(d)
	met := match(bundles(good))
	legacy := len(met) < d.threshold && len(good) > 0
	if legacy {
		met = match(good)
	}
	switch {
	case len(met) >= d.threshold && (!legacy || len(e.in.Problems) == 0):
		e.meet(d, f, met)
	case slices.ContainsFunc(bad, func(j judged) bool { return j.denied }):
		e.refused(d, f, good, bad)
	case len(good) == 0 && len(bad) > 0:
		e.faulty(f, bad)
	case len(e.in.Problems) > 0:
		e.unreached(d, f, good)
	case e.unnamed(d, f, len(good)+len(strangers) == 0):
	case len(good) > 0:
		f.Code, f.Expected = reason.ThresholdUnmet, d.who.String()
		f.Found = fmt.Sprintf("%d: %s", len(met), words(identities(d, met)))
		f.Next = e.command(d)
		e.fail(f)
	case len(strangers) > 0:
		e.strangers(d, f, strangers)
	default:
		e.missing(d, f)
	}
}

// sort looks at every claim of the demand's type.
func (e *evaluation) sort(d demand) (good, bad []judged, strangers []stranger) {
	for _, c := range e.in.Claims {
		if c.Zero() || !d.accepts(e.in.Artifact.Kind(), c.PredicateType()) || !e.about(c) || c.Legacy() && !d.legacy {
			continue
		}
		var j judged
		known := false
		near := stranger{claim: c}
		for i, id := range d.by {
			diff := id.Differences(c.Signer())
			if len(diff) > 0 {
				if near.differences == nil || len(diff) < len(near.differences) {
					near.nearest, near.differences = id, diff
				}
				continue
			}
			if !known {
				j, known = e.judge(d, c), true
			}
			j.identity = i
			switch late := e.outside(id, c); {
			case len(j.faults) == 0 && late == nil:
				good = append(good, j)
			case late == nil || j.denied:
				bad = append(bad, j)
			default:
				other := j
				other.faults = append(slices.Clone(j.faults), *late)
				bad = append(bad, other)
			}
		}
		if !known {
			strangers = append(strangers, near)
		}
	}
	return good, bad, strangers
}

// outside is the fault of a signature that was made, by any proved time or else by now,
// when this identity's key was not to be used. Another identity may have the same key
// with another window, and the signature was proved by either.
func (e *evaluation) outside(id Identity, c evidence.Claim) *fault {
	if id.key.Zero() {
		return nil
	}
	at, _ := e.in.Feed.time(c)
	if at.IsZero() {
		at = e.in.Now
	}
	times := []time.Time{at}
	for _, w := range c.Witnesses() {
		if _, named := e.in.Feed.logs[w.Log]; !named && !w.At.IsZero() {
			times = append(times, w.At)
		}
	}
	for _, t := range times {
		if !id.key.Valid(t) {
			return &fault{reason.KeyOutsideWindow, "a signature while " + id.name + " may sign", "of " + stamp(t), "have it signed anew by a key that may sign now"}
		}
	}
	return nil
}

// about says whether a claim speaks of this artifact. A model's signature
// speaks of its files, one by one, which judge compares: its subject binds
// neither names nor sizes.
func (e *evaluation) about(c evidence.Claim) bool {
	if e.in.Artifact.Kind() == artifact.Model && c.PredicateType() == evidence.PredicateModelSignature {
		return true
	}
	return slices.Contains(e.in.Artifact.Subjects(), c.Subject())
}

// files turns what is wrong with a model's files into faults.
func files(err error) []fault {
	if err == nil {
		return nil
	}
	e, ok := reason.Of(err)
	if !ok {
		return []fault{{code: reason.InternalFault, found: clip(err.Error())}}
	}
	return []fault{{e.Code, e.Expected, clip(e.Found), e.Next}}
}

// judge asks what a claim by the right signer says.
func (e *evaluation) judge(d demand, c evidence.Claim) judged {
	j := judged{claim: c}
	if why := e.in.Feed.claim(c); why != nil {
		j.faults, j.denied = []fault{*why}, true
		return j
	}
	at, source := e.in.Feed.time(c)
	if d.maxAge > 0 && d.word != vulnerabilities {
		var f []fault
		j.until, f = d.tooOld(c, e.in.Now)
		j.faults = append(j.faults, f...)
	}
	logs := e.in.Feed.holding(c)
	if n := len(logs); n < d.logs {
		j.faults = append(j.faults, fault{reason.LogsUnmet, fmt.Sprintf("held by %d transparency logs of the trusted root", d.logs),
			fmt.Sprintf("%d: %s", n, clip(words(logs))), "sign with a signing config that names another log, or logs: " + fmt.Sprint(n)})
	}
	if d.minimumAge > 0 {
		j.faults = append(j.faults, d.tooYoung(at, source, e.in.Now)...)
	}
	switch d.word {
	case signature:
		if e.in.Artifact.Kind() == artifact.Model {
			j.faults = append(j.faults, files(model.Covers(c, e.in.Tree))...)
		}
	case provenance:
		j.faults = append(j.faults, d.build.judge(c, func(id Identity) bool { return e.outside(id, c) == nil })...)
	case bill:
		coverage, ok := e.in.Coverages[c.Envelope()]
		if !ok {
			var err error
			if coverage, err = Cover(c, e.in.Tree); err != nil {
				j.faults = append(j.faults, unreadable(err))
				return j
			}
		}
		var faults []fault
		j.vouched, faults = d.coverage.judge(coverage)
		j.vouched.SBOM = c.Envelope()
		j.faults = append(j.faults, faults...)
	case vulnerabilities:
		var f []fault
		j.until, f = d.scanned(c, e.in.Now)
		j.faults = append(j.faults, f...)
	case attestation:
		j.faults = append(j.faults, d.attested(c, at, e.in.Now)...)
	}
	return j
}

// span writes a duration as the policy file does, in whole hours where that is
// exact enough.
func span(d time.Duration) string {
	if d >= time.Hour {
		return fmt.Sprintf("%dh", int64(d/time.Hour))
	}
	return fmt.Sprintf("%ds", int64(d/time.Second))
}

func identities(d demand, met []judged) []string {
	var out []string
	for _, j := range met {
		out = append(out, d.by[j.identity].name)
	}
	return out
}

// meet records a demand that passed.
func (e *evaluation) meet(d demand, f Finding, met []judged) {
	var said []string
	for _, j := range met {
		c, name := j.claim, d.by[j.identity].name
		at, source := e.in.Feed.time(c)
		p := Proved{Identity: name, Signer: c.Signer(), Predicate: c.PredicateType(), Subject: c.Subject(),
			Index: c.Subject() == e.in.Artifact.Index(), Time: at, Source: source, Logs: e.in.Feed.holding(c), Envelope: c.Envelope(), claim: c}
		e.out.proved = append(e.out.proved, p)
		f.Signers = append(f.Signers, name)
		f.Evidence = append(f.Evidence, c.Envelope())
		said = append(said, name+" = "+clip(c.Signer().String())+", of the "+p.level(e.in.Artifact.Kind())+" "+c.Subject().String()+among(c)+e.place(c))
		e.ends(j.until)
		e.met = append(e.met, basis{d.word, c})
	}
	f.Found = some(said)
	switch d.word {
	case bill:
		e.out.vouched = met[0].vouched
		f.Found += "; " + met[0].vouched.String()
	case pin:
		e.out.pin = met[0].claim.Predicate()
	}
	e.out.met++
	e.pass(f)
}

// among says that a statement speaks of other artifacts too. A model's names one
// digest for all files.
func among(c evidence.Claim) string {
	if n := len(c.Subjects()); n > 1 {
		return fmt.Sprintf(", one of %d subjects", n)
	}
	return ""
}

func (p Proved) level(k artifact.Kind) string {
	switch {
	case p.Index:
		return "index"
	case p.Predicate == evidence.PredicateModelSignature:
		return "files with root"
	case k == artifact.Model:
		return "model"
	}
	return "manifest"
}

// refused reports a demand that lacks what the deny feed takes back: whoever looks
// for what is absent looks in vain.
func (e *evaluation) refused(d demand, f Finding, good, bad []judged) {
	first := true
	var rest []judged
	for _, j := range bad {
		if !j.denied {
			rest = append(rest, j)
			continue
		}
		f.Evidence = append(f.Evidence, j.claim.Envelope())
		if first {
			why := j.faults[0]
			f.Code, f.Expected, f.Next = why.code, fmt.Sprintf("%d of %s; %s", d.threshold, words(names(d.by)), why.expected), why.next
			f.Found = fmt.Sprintf("%d; denied by feed %d: %s = %s", len(match(good)), e.in.Feed.Serial, d.by[j.identity].name, why.found)
			first = false
		}
	}
	e.fail(f)
	if len(good) == 0 && len(rest) > 0 {
		f.Evidence = nil
		e.faulty(f, rest)
	}
}

// faulty reports what is wrong with the claim that comes nearest.
func (e *evaluation) faulty(f Finding, bad []judged) {
	best := slices.MinFunc(bad, func(a, b judged) int { return cmp.Compare(len(a.faults), len(b.faults)) })
	f.Evidence = []digest.Digest{best.claim.Envelope()}
	for _, why := range best.faults {
		f.Code, f.Expected, f.Found = why.code, why.expected, why.found
		f.Next = strings.Replace(why.next, "create REF", "create "+e.in.Artifact.Ref().String(), 1)
		e.fail(f)
	}
}
