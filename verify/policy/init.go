package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Signers are the distinct signers of an artifact's proved signatures, in the
// order in which Init numbers them from 1: keys first, then certificates, each
// by name.
func Signers(in Input) []evidence.Signer {
	var out []evidence.Signer
	for _, c := range in.Claims {
		if c.PredicateType() == signatureType(in.Artifact.Kind()) &&
			!slices.ContainsFunc(out, func(s evidence.Signer) bool { return principal(s) == principal(c.Signer()) }) {
			out = append(out, c.Signer())
		}
	}
	slices.SortFunc(out, func(a, b evidence.Signer) int {
		if (a.Key == "") != (b.Key == "") {
			return map[bool]int{true: 1, false: -1}[a.Key == ""]
		}
		return strings.Compare(principal(a), principal(b))
	})
	return out
}

// Init writes a policy for one artifact out of what was proved about it: the
// signer's exact fields, and a demand for each predicate of the same signer that
// the artifact meets today. What is there and not met stands in a comment with
// its reason. keys are the keys that claims were proved with; choice is the
// number of the signer, 0 if there must be only one. Equal inputs give equal
// bytes, and Parse reads them.
func Init(in Input, keys []trust.Key, choice int) ([]byte, error) {
	what := "write a policy for " + in.Artifact.Ref().String()
	name, word := in.Artifact.Ref().Name(), reason.Word(in.Artifact.Ref().String())
	if name == "" || pattern(name).fault(in.Artifact.Kind()) != "" {
		return nil, &reason.Error{Code: reason.InitName, What: what, Expected: "a name that rules can match", Found: fmt.Sprintf("%q", name), Next: "--as NAME"}
	}
	signers := Signers(in)
	switch {
	case len(signers) == 0:
		e := &reason.Error{Code: reason.InitUnproved, What: what, Expected: "a proved signature", Found: "none",
			Next: "ztlaunch sign --key KEY " + word}
		if in.Artifact.Kind() == artifact.Image {
			e.Next = "ztlaunch adopt " + word + " --as NAME, to vouch for it yourself; or " + e.Next
		}
		for _, u := range in.Unproved {
			e.Found, e.Err, e.Next = "one that does not prove", u.Err, "ztlaunch tree "+word+" shows who it names; --key FILE or --trusted-root FILE proves it (once for all: ztlaunch trust add FILE)"
		}
		return nil, e
	case choice == 0 && len(signers) > 1, choice < 0, choice > len(signers):
		var all []string
		for i, s := range signers {
			all = append(all, fmt.Sprintf("%d = %s", i+1, clip(s.String())))
		}
		return nil, &reason.Error{Code: reason.InitChoice, What: what, Expected: "one of " + strings.Join(all, "; "),
			Found: fmt.Sprintf("%d signers, choice %d", len(signers), choice), Next: "--identity 1"}
	}
	return draft(in, keys, signers[max(choice, 1)-1])
}

func draft(in Input, keys []trust.Key, s evidence.Signer) ([]byte, error) {
	identity, err := identityBlock(s, keys)
	if err != nil {
		return nil, err
	}
	head := "version: 1\nidentities:\n  signer:" + identity + section(in.Artifact.Kind()) + ":\n" +
		"  - match: " + scalar(in.Artifact.Ref().Name()) + "\n" + layoutsOf(in, s) + "    require:\n"
	met, comments := []string{"{signature: {by: [signer]}}"}, []string(nil)
	for _, d := range proposals(in, s) {
		ok, why := try(head, d, in)
		if ok {
			met = append(met, d)
		} else {
			comments = append(comments, d+"   # "+why)
		}
	}
	var b strings.Builder
	b.WriteString("# Made by ztlaunch policy init: who signed, and what they proved.\n" + head)
	for _, d := range met {
		b.WriteString("      - " + d + "\n")
	}
	for _, c := range comments {
		b.WriteString("      # not met: " + c + "\n")
	}
	if _, err := Parse([]byte(b.String()), "policy.yaml", nil); err != nil {
		return nil, fmt.Errorf("read back the written policy: %w", err)
	}
	return []byte(b.String()), nil
}

func identityBlock(s evidence.Signer, keys []trust.Key) (string, error) {
	if s.Authority != "" {
		return "", &reason.Error{Code: reason.InitUnproved, What: "write the identity of " + clip(s.String()), Expected: "a key or a keyless signer",
			Found: "one that a private authority certified", Next: suggest("NAME", s)}
	}
	if s.Key == "" {
		k, ok := exactly(s)
		if !ok {
			return "", &reason.Error{Code: reason.InitUnproved, What: "write the identity of " + clip(s.String()), Expected: "a name that can be written exactly",
				Found: "one with *, which a policy reads as a pattern", Next: suggest("NAME", s)}
		}
		return "\n    keyless: " + k.flow() + "\n", nil
	}
	i := slices.IndexFunc(keys, func(k trust.Key) bool { return k.ID() == s.Key })
	if i < 0 {
		return "", &reason.Error{Code: reason.InitUnproved, What: "write the identity of " + s.String(), Expected: "the key itself", Found: "its name only", Next: "--key FILE"}
	}
	return "\n" + keyBlock(keys[i], "    "), nil
}

// proposals are demands for what the signer attested, one for each kind.
func proposals(in Input, s evidence.Signer) (out []string) {
	seen := map[word]bool{signature: true}
	for _, c := range in.Claims {
		if principal(c.Signer()) != principal(s) {
			continue
		}
		switch t := c.PredicateType(); {
		case slices.Contains(provenanceTypes, t) && !seen[provenance]:
			if b, err := readBuild(t, c.Predicate()); err == nil {
				seen[provenance] = true
				out = append(out, proposeBuild(b, s))
			}
		case IsSBOM(t) && !seen[bill]:
			seen[bill] = true
			out = append(out, "{sbom: {by: [signer], covers: "+widest(c, in)+"}}")
		}
	}
	slices.Sort(out)
	return out
}

func proposeBuild(b build, s evidence.Signer) string {
	var t buildTerms
	parts := []string{"by: [signer]"}
	if r := b.origin.repository; r != "" {
		parts = append(parts, "source: "+scalar(r))
	}
	t.builder = githubHosted
	if level, _ := t.believed(b, s, func(Identity) bool { return true }); level > 0 {
		parts = append(parts, "builder: "+githubHosted, fmt.Sprintf("level: %d", level))
	} else {
		parts = append(parts, "builder: "+scalar(b.builder))
	}
	parts = append(parts, "buildType: "+scalar(b.buildType))
	if extra := t.extra(b); extra != nil {
		var all []string
		for _, name := range extra {
			all = append(all, scalar(name))
		}
		parts = append(parts, "parameters: ["+words(all)+"]")
	}
	return "{provenance: {" + strings.Join(parts, ", ") + "}}"
}

// widest is all when the SBOM covers every file, else executables.
func widest(c evidence.Claim, in Input) string {
	coverage, ok := in.Coverages[c.Envelope()]
	if !ok {
		var err error
		if coverage, err = Cover(c, in.Tree); err != nil {
			return "executables"
		}
	}
	if _, faults := (coverageTerms{all: true}).judge(coverage); len(faults) == 0 {
		return "all"
	}
	return "executables"
}

// try decides on the artifact with one demand alone.
func try(head, demand string, in Input) (ok bool, why string) {
	p, err := Parse([]byte(head+"      - "+demand+"\n"), "policy.yaml", nil)
	if err != nil {
		return false, clip(err.Error())
	}
	in.Purpose = Run
	d := Evaluate(p, in)
	for _, f := range d.findings {
		if !f.Pass {
			return false, string(f.Code) + ": " + f.Found
		}
	}
	return d.Allowed(), ""
}
