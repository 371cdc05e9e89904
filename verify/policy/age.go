package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// ages refuses a window of age that no claim can ever be in, and one whose end nobody
// proves.
func (d demand) ages(n form.Node) {
	if d.maxAge > 0 && !d.dated() {
		certified := slices.DeleteFunc(slices.Clone(d.by), func(id Identity) bool { return !id.key.Zero() })
		if distinct(certified) < d.threshold {
			n.Fail(reason.FormValue, "maxAge with signers that have certificates, or of what says itself when it was made",
				"a "+string(d.word)+" by a key, which whoever has an old one can have logged or stamped anew",
				"remove maxAge; a key's own until bounds what it signs")
		}
	}
	if d.word != vulnerabilities && d.maxAge > 0 && d.minimumAge >= d.maxAge {
		n.Fail(reason.FormValue, "minimumAge below maxAge", span(d.minimumAge)+" and "+span(d.maxAge), "")
	}
}

// dated says whether what meets the demand says itself when it was made.
func (d demand) dated() bool {
	switch d.word {
	case provenance, bill, vulnerabilities:
		return true
	case attestation:
		return slices.Contains(datedTypes[:], d.kind)
	}
	return false
}

// datedTypes are the predicate types that attestation demands know a time of.
var datedTypes = [...]string{predicateVSA, predicateSVR1, predicateSVR2}

// begun is a moment before which a claim was not made, and who says so: the start of
// its signer's certificate, or of a key the signer himself, in what he signed. A log
// or a timestamp authority says by when it existed, which bounds no age.
func begun(c evidence.Claim) (at time.Time, source string) {
	if at := c.Begun(); !at.IsZero() {
		return at, "its certificate begins"
	}
	root, err := decodeObject(c.Predicate())
	if err != nil {
		return time.Time{}, ""
	}
	var p parser
	switch t := c.PredicateType(); {
	case slices.Contains(provenanceTypes, t):
		run := p.object(root, "runDetails", false)
		metadata := p.object(run, "metadata", false)
		if at = p.time(metadata, "finishedOn", false); at.IsZero() {
			at = p.time(p.object(root, "metadata", false), "buildFinishedOn", false)
		}
	case t == predicateVSA:
		at = p.time(root, "timeVerified", false)
	case t == predicateSVR1 || t == predicateSVR2:
		at = p.time(root, "timeCreated", false)
	case evidence.IsSPDX(t):
		at = p.time(p.object(root, "creationInfo", false), "created", false)
	case t == evidence.PredicateCycloneDX:
		at = p.time(p.object(root, "metadata", false), "timestamp", false)
	}
	if p.err != nil {
		return time.Time{}, ""
	}
	return at, "its signer says"
}

// tooOld holds a claim's beginning against maxAge, and says when it ends.
func (d demand) tooOld(c evidence.Claim, now time.Time) (until time.Time, out []fault) {
	at, says := begun(c)
	expected := "at most " + span(d.maxAge) + " old at " + stamp(now)
	const next = "sign with a certificate, or remove maxAge"
	switch age := now.Sub(at); {
	case at.IsZero():
		return time.Time{}, []fault{{reason.ClaimUndated, expected, "nothing that says how old it is at most: a key has no certificate that begins, and the statement no time", next}}
	case at.After(now.Add(skew)):
		return time.Time{}, []fault{{reason.ClaimUndated, expected, says + " " + stamp(at) + ", which is yet to come", next}}
	case age > d.maxAge:
		return at.Add(d.maxAge), []fault{{reason.ClaimTooOld, expected, span(age) + " old: " + says + " " + stamp(at),
			"sign anew, or maxAge: " + span(age.Truncate(time.Hour)+time.Hour)}}
	}
	return at.Add(d.maxAge), nil
}

// tooYoung holds a claim's proved time against minimumAge: somebody else has had
// that long to notice what is wrong with it.
func (d demand) tooYoung(at time.Time, source evidence.TimeSource, now time.Time) []fault {
	expected := "at least " + span(d.minimumAge) + " since a log or timestamp authority saw it"
	if source == evidence.TimeNone || at.IsZero() {
		return []fault{{reason.ClaimUndated, expected, "no proved time", "sign with a timestamp authority, or remove minimumAge"}}
	}
	passes := at.Add(d.minimumAge)
	if !now.Before(passes) {
		return nil
	}
	return []fault{{reason.ClaimTooYoung, expected, fmt.Sprintf("%s, of %s", span(max(0, now.Sub(at))), stamp(at)),
		"it passes from " + stamp(passes)}}
}
