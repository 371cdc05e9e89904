package policy

import (
	"fmt"
	"slices"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// legacyTags is the word for what cosign up to version 2 kept.
const legacyTags = "legacy-tags"

// layouts reads a rule's layouts: which forms of evidence count besides bundles.
func layouts(n form.Node, kind artifact.Kind) (legacy bool) {
	if kind == artifact.Model {
		n.Fail(reason.FormUnknownKey, "layouts in images and servers only", "layouts in "+section(kind), "")
	}
	n.List(func(_ int, v form.Node) { legacy = v.OneOf(legacyTags) == legacyTags })
	if !legacy {
		n.Fail(reason.FormValue, "at least one layout", "none", "layouts: ["+legacyTags+"]")
	}
	return legacy
}

// bundles leaves out what cosign up to version 2 kept.
func bundles(good []judged) []judged {
	return slices.DeleteFunc(slices.Clone(good), func(j judged) bool { return j.claim.Legacy() })
}

// place says of a claim that is no bundle where it was found.
func (e *evaluation) place(c evidence.Claim) string {
	if !c.Legacy() {
		return ""
	}
	if at := e.in.Places[c.Envelope()]; at != "" {
		return ", at the legacy tag " + clip(at)
	}
	return ", of a legacy tag"
}

// unnamed denies a demand for which there is only what the rule's layouts leave
// out: it would meet the demand, or there is nothing else to speak of.
func (e *evaluation) unnamed(d demand, f Finding, alone bool) bool {
	if d.legacy {
		return false
	}
	var there []evidence.Claim
	for _, c := range e.in.Claims {
		if !c.Zero() && c.Legacy() && d.accepts(e.in.Artifact.Kind(), c.PredicateType()) && e.about(c) {
			there = append(there, c)
		}
	}
	named := d
	named.legacy = true
	good, _, _ := e.sort(named)
	if len(there) == 0 || !alone && len(match(good)) < d.threshold {
		return false
	}
	f.Code, f.Expected = reason.LayoutNotNamed, fmt.Sprintf("%s by %s, as a bundle", d.word, words(names(d.by)))
	var found []string
	for _, c := range there {
		found = append(found, clip(c.Signer().String())+e.place(c))
		f.Evidence = append(f.Evidence, c.Envelope())
	}
	f.Found = some(found)
	f.Next = "layouts: [" + legacyTags + "] in the rule, to believe what is there; or sign anew: " + e.command(d)
	if e.policy.path == commandLine { // there is no file to write it into
		key := ""
		if len(e.policy.Keys()) > 0 {
			key = "FILE"
		}
		f.Next = Proposal(e.in.Artifact.Ref(), key) + ", which writes layouts: [" + legacyTags + "]; or sign anew: " + e.command(d)
	}
	e.fail(f)
	return true
}

// layoutsOf is the rule's layouts that a signer's signatures need: none if any of
// them is a bundle.
func layoutsOf(in Input, s evidence.Signer) string {
	for _, c := range in.Claims {
		if principal(c.Signer()) == principal(s) && c.PredicateType() == signatureType(in.Artifact.Kind()) && !c.Legacy() {
			return ""
		}
	}
	return "    layouts: [" + legacyTags + "]\n"
}
