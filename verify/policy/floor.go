package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Labels of an image's configuration, whose digest is in the manifest that was
// signed. Annotations of manifests, indexes and referrers are never asked.
const (
	versionLabel = "org.opencontainers.image.version" // OCI image specification, annotations
	epochLabel   = "io.github.ztlaunch.epoch"
)

// maxVersion caps a version, in bytes.
const maxVersion = 256

// floor is below which version nothing counts any more, whoever signed it.
type floor struct {
	version string // as package semver writes it, with v; "" = any
	epoch   int64  // 0 = any
	ref     bool   // the version is that of the tag that was built, not the label
}

// basis is a claim that met a demand of the rule at hand.
type basis struct {
	word  word
	claim evidence.Claim
}

func readFloor(kind artifact.Kind, n form.Node) (f floor) {
	if kind == artifact.Model { // a model's signature covers names, sizes and bytes of files, and no version
		n.Fail(reason.FormUnknownKey, "minimum in images and servers only", "minimum in "+section(kind), "")
		return floor{}
	}
	n.Fields(map[string]func(form.Node){
		"version": func(v form.Node) {
			var ok bool
			if f.version, ok = version(v.Text()); !ok {
				v.Fail(reason.FormValue, "a version of SemVer 2.0.0 such as 1.4.0", fmt.Sprintf("%.80q", v.Text()), "")
			}
		},
		"epoch": func(v form.Node) { f.epoch = v.Int(1, maxSerial) },
		"of":    func(v form.Node) { f.ref = v.OneOf("label", "ref") == "ref" },
	})
	switch {
	case !n.Has("version") && !n.Has("epoch"):
		n.Fail(reason.FormMissingKey, "version or epoch", "neither", "minimum: {version: 1.4.0}")
	case n.Has("of") && !n.Has("version"):
		n.Fail(reason.FormUnknownKey, "of beside version only", "of without version", "an epoch is always that of the label")
	}
	return f
}

// grounded refuses a rule whose version nobody in it says.
func (f floor) grounded(u rule, n form.Node) {
	if f.ref && !slices.ContainsFunc(u.demands, func(d demand) bool { return d.word == provenance || d.word == signature }) {
		n.Fail(reason.FormMissingKey, "a provenance or signature demand, which the ref is read from", "none", "of: label")
	}
}

// version is a version of SemVer 2.0.0, with or without a v before it, as package
// semver writes it.
func version(s string) (string, bool) {
	v := "v" + strings.TrimPrefix(s, "v")
	core, _, _ := strings.Cut(v, "+")
	core, _, _ = strings.Cut(core, "-")
	return v, len(s) <= maxVersion && semver.IsValid(v) && strings.Count(core, ".") == 2
}

// floor holds the artifact's version and epoch against the rule's. met are the
// claims that met its demands.
func (e *evaluation) floor(r rule, met []basis) {
	labels := e.in.Artifact.Config().Config.Labels
	if r.floor.version != "" {
		f := Finding{Rule: r.where + ".minimum", Line: r.line, What: "version by the label " + versionLabel, Expected: "at least " + r.floor.version[1:]}
		if !r.floor.ref {
			v, ok := labels[versionLabel]
			e.versions(f, []string{v}, ok)
		} else {
			f.What = "version by the tag that was built"
			refs, ok := r.refs(met)
			e.versions(f, refs, ok)
		}
	}
	if r.floor.epoch > 0 {
		e.epoch(r, labels[epochLabel])
	}
}

// versions records the lowest of what was found; ok says that all of it was there.
func (e *evaluation) versions(f Finding, found []string, ok bool) {
	refuse := func(code reason.Code, found, next string) {
		f.Code, f.Found, f.Next = code, found, next
		e.fail(f)
	}
	if len(found) == 0 { // a demand that says it is not met, and denies
		f.Skipped, f.Found = true, "not asked: what says the ref was not proved"
		e.out.findings = append(e.out.findings, f)
		return
	}
	floor := "v" + strings.TrimPrefix(f.Expected, "at least ")
	for _, s := range found {
		v, good := version(s)
		switch {
		case !ok || s == "":
			refuse(reason.VersionAbsent, "none", "build it with its version; the policy's minimum asks for one")
			return
		case !good:
			refuse(reason.VersionMalformed, clip(s), "build it with a version of SemVer 2.0.0 such as "+floor[1:])
			return
		case semver.Compare(v, floor) < 0:
			refuse(reason.VersionBelowFloor, clip(s), "use a newer version; if that is right: version: "+v[1:])
			return
		}
	}
	f.Found = clip(strings.Join(found, ", "))
	e.pass(f)
}

// refs are the refs that the met claims were built from: of provenance where the
// rule demands any, else of signatures. ok says that each of them has one.
func (r rule) refs(met []basis) (out []string, ok bool) {
	from := signature
	if slices.ContainsFunc(r.demands, func(d demand) bool { return d.word == provenance }) {
		from = provenance
	}
	ok = true
	for _, s := range met {
		if s.word != from {
			continue
		}
		ref := ""
		if from == provenance {
			if b, err := readBuild(s.claim.PredicateType(), s.claim.Predicate()); err == nil {
				ref = b.origin.ref
			}
		}
		ref = cmp.Or(ref, s.claim.Signer().SourceRepositoryRef)
		tag, isTag := strings.CutPrefix(ref, "refs/tags/")
		if ref != "" && !isTag {
			tag = "no tag: " + ref
		}
		out, ok = append(out, tag), ok && ref != ""
	}
	return out, ok
}

// epoch holds the label that publishers raise when nothing older may run again.
func (e *evaluation) epoch(r rule, found string) {
	f := Finding{Rule: r.where + ".minimum", Line: r.line, What: "epoch by the label " + epochLabel,
		Expected: fmt.Sprintf("at least %d", r.floor.epoch), Found: clip(found)}
	n, err := strconv.ParseInt(found, 10, 64)
	switch {
	case found == "":
		f.Code, f.Next = reason.EpochAbsent, fmt.Sprintf("build it with the label %s=%d", epochLabel, r.floor.epoch)
	case err != nil || n < 0 || n > maxSerial || strconv.FormatInt(n, 10) != found:
		f.Code, f.Next = reason.EpochMalformed, fmt.Sprintf("build it with the label %s=%d", epochLabel, r.floor.epoch)
	case n < r.floor.epoch:
		f.Code, f.Next = reason.EpochBelowFloor, fmt.Sprintf("use a newer version; if that is right: epoch: %d", n)
	default:
		e.pass(f)
		return
	}
	e.fail(f)
}
