package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/sbom"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// IsSBOM says whether a predicate is a bill of materials.
func IsSBOM(predicateType string) bool {
	return evidence.IsSPDX(predicateType) || evidence.IsCycloneDX(predicateType)
}

// Cover holds the SBOM that a claim carries against a tree. It is a pure
// function of the claim's envelope and the tree, so its result may be kept under
// their digests. The error is the SBOM's: it does not parse.
func Cover(c evidence.Claim, t tree.Tree) (sbom.Coverage, error) {
	doc, err := sbom.Parse(c.Predicate())
	if err != nil {
		return sbom.Coverage{}, err
	}
	if want, is := evidence.IsSPDX(c.PredicateType()), doc.Format == sbom.SPDX; want != is {
		return sbom.Coverage{}, &reason.Error{Code: reason.SBOMMalformed, What: "read SBOM",
			Expected: "what the predicate type says, " + c.PredicateType(), Found: string(doc.Format)}
	}
	entries := make([]sbom.Entry, 0, t.Len())
	for e := range t.Entries() {
		if e.Origin == tree.Ours {
			continue
		}
		entry := sbom.Entry{Path: e.Path, Regular: e.Type == tree.File}
		if entry.Regular {
			entry.SHA256, entry.Executable = e.Digest.Encoded(), executable(e)
		}
		entries = append(entries, entry)
	}
	return sbom.Compare(doc, entries), nil
}

// executable is what covers: executables means: a file that somebody may
// execute, or a shared object by its name. Files that an interpreter reads are
// covered by covers: all only.
func executable(e tree.Entry) bool {
	name := e.Path[strings.LastIndexByte(e.Path, '/')+1:]
	return e.Mode&0o111 != 0 || strings.HasSuffix(name, ".so") || strings.Contains(name, ".so.")
}

// judge holds a coverage against the demand's scope and exceptions. A file with
// other bytes than the SBOM lists is a fault in every scope.
func (t coverageTerms) judge(c sbom.Coverage) (v Vouched, out []fault) {
	v = Vouched{Files: c.Files(), Listed: c.Listed, ByPackage: c.ByPackage}
	gather := func(gaps []sbom.Gap, always bool) (bad []sbom.Gap) {
		for _, g := range gaps {
			switch {
			case t.excepted(g):
				v.Excepted++
			case always || t.all || g.Executable:
				bad = append(bad, g)
			default:
				v.Uncovered++
			}
		}
		return bad
	}
	mismatch, unlisted, unhashed := gather(c.Mismatch, true), gather(c.Unlisted, false), gather(c.Unhashed, false)
	add := func(code reason.Code, gaps []sbom.Gap, expected string, found func(sbom.Gap) string, next string) {
		if len(gaps) == 0 {
			return
		}
		var all []string
		for _, g := range gaps {
			all = append(all, found(g))
		}
		if next == "" {
			next = fmt.Sprintf("make the SBOM anew: ztlaunch sbom create REF; or if the file is right: exceptions: [{path: %s, digest: sha256:%s}]", filePath(gaps[0].Path), gaps[0].Got)
		}
		out = append(out, fault{code, expected, some(all), next})
	}
	add(reason.SBOMFileMismatch, mismatch, "every listed file as the SBOM lists it", func(g sbom.Gap) string {
		return fmt.Sprintf("%s sha256:%s, listed sha256:%s", filePath(g.Path), g.Got, g.Want)
	}, "make the SBOM from what is signed: ztlaunch sbom create REF")
	add(reason.SBOMFileUnlisted, unlisted, "every "+t.scope()+" in the SBOM", func(g sbom.Gap) string { return filePath(g.Path) }, "")
	add(reason.SBOMFileUnhashed, unhashed, "a sha256 or an owning package for every "+t.scope(), func(g sbom.Gap) string { return filePath(g.Path) }, "")
	return v, out
}

func (t coverageTerms) scope() string {
	if t.all {
		return "file"
	}
	return "executable file"
}

func (t coverageTerms) excepted(g sbom.Gap) bool {
	for _, e := range t.exceptions {
		if e.path == g.Path && e.sum == g.Got {
			return true
		}
	}
	return false
}

// String counts the files, for people.
func (v Vouched) String() string {
	return fmt.Sprintf("%d files: %d listed, %d by package, %d excepted, %d not covered",
		v.Files, v.Listed, v.ByPackage, v.Excepted, v.Uncovered)
}

// unreadable turns an SBOM's parse error into a fault.
func unreadable(err error) fault {
	e, ok := reason.Of(err)
	if !ok {
		return fault{code: reason.SBOMMalformed, found: clip(err.Error())}
	}
	return fault{e.Code, cmp.Or(e.Expected, "an SBOM that parses"), clip(e.Found), "make the SBOM anew: ztlaunch sbom create REF"}
}

// AsksSBOM says whether a rule of the policy asks a signer for an SBOM.
func (p Policy) AsksSBOM(s evidence.Signer) bool {
	for _, r := range p.rules {
		for _, d := range r.demands {
			if d.word == bill && slices.ContainsFunc(d.by, func(id Identity) bool { return len(id.Differences(s)) == 0 }) {
				return true
			}
		}
	}
	return false
}
