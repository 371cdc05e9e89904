package policy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// build is what SLSA provenance v1 (https://slsa.dev/spec/v1.2/build-provenance)
// says, as far as a demand can ask.
type build struct {
	buildType  string
	builder    string
	parameters object
	sources    []string // repositories of the dependencies that are sources
}

func readBuild(raw json.RawMessage) (b build, err error) {
	v, err := decode(raw)
	if err != nil {
		return build{}, err
	}
	root, ok := v.(map[string]any)
	if !ok {
		return build{}, errors.New("the predicate is not an object")
	}
	var p parser
	definition := p.object(root, "buildDefinition", true)
	b.buildType = p.text(definition, "buildType", true)
	b.parameters = p.object(definition, "externalParameters", true)
	p.object(definition, "internalParameters", false)
	for _, dependency := range p.list(definition, "resolvedDependencies", false) {
		uri := p.text(dependency, "uri", false)
		if strings.HasPrefix(uri, "git+") {
			b.sources = append(b.sources, source(uri))
		}
	}
	run := p.object(root, "runDetails", true)
	b.builder = p.text(p.object(run, "builder", true), "id", true)
	p.object(run, "metadata", false)
	return b, p.err
}

// source normalises a repository: host and path, without scheme, trailing slash
// and .git, and for a git+ locator (SPDX 2.3, section 7.7) without the ref. A
// locator with a user name is nobody's.
func source(uri string) string {
	s, git := strings.CutPrefix(uri, "git+")
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s = rest
	}
	if host, _, _ := strings.Cut(s, "/"); strings.Contains(host, "@") {
		return ""
	}
	if git {
		s, _, _ = strings.Cut(s, "@")
	}
	return strings.TrimSuffix(strings.TrimSuffix(s, "/"), ".git")
}

// Build types whose external parameters are known.
const (
	githubAttest   = "https://actions.github.io/buildtypes/workflow/v1"
	githubWorkflow = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"
)

// repository is the one source that the provenance builds from: the workflow's
// repository for GitHub's build types, else an external parameter "source", else
// the only git dependency.
func (b build) repository() string {
	if b.buildType == githubAttest || b.buildType == githubWorkflow {
		w, _ := b.parameters["workflow"].(map[string]any)
		s, _ := w["repository"].(string)
		return source(s)
	}
	if v, ok := b.parameters["source"]; ok {
		s, _ := v.(string)
		return source(s)
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(b.sources))); len(distinct) == 1 {
		return distinct[0]
	}
	return ""
}

// judge holds provenance against a demand's terms.
func (t buildTerms) judge(c evidence.Claim) (out []fault) {
	add := func(code reason.Code, expected, found, next string) {
		out = append(out, fault{code, expected, clip(found), next})
	}
	if c.PredicateType() != evidence.PredicateSLSAProvenanceV1 {
		add(reason.ProvenanceUnsupported, evidence.PredicateSLSAProvenanceV1, c.PredicateType(), "build with a generator that writes SLSA provenance v1")
		return out
	}
	b, err := readBuild(c.Predicate())
	if err != nil {
		add(reason.ProvenanceMalformed, "SLSA provenance v1", err.Error(), "build with a generator that writes SLSA provenance v1")
		return out
	}
	signer := c.Signer()
	if t.source != "" {
		if got := b.repository(); got != t.source {
			add(reason.ProvenanceSource, t.source, got, change("source", got, "build from "+t.source))
		} else if s := signer.SourceRepositoryURI; s != "" && source(s) != t.source {
			add(reason.ProvenanceSource, t.source, source(s)+" in the signer's certificate", "build from "+t.source)
		}
	}
	if config := b.workflow(); config != "" && signer.BuildConfigURI != "" && config != signer.BuildConfigURI {
		add(reason.ProvenanceContradicts, signer.BuildConfigURI+", as the certificate says", config, "build and attest in one workflow")
	}
	if t.buildType != "" && b.buildType != t.buildType {
		add(reason.ProvenanceBuildType, t.buildType, b.buildType, change("buildType", b.buildType, "build as "+t.buildType))
	}
	level, why := t.believed(b, signer)
	switch {
	case level == 0:
		add(reason.ProvenanceBuilder, t.named(), why, change("builder", b.builder, "build with the "+t.named()))
	case level < t.level:
		add(reason.ProvenanceLevel, fmt.Sprintf("level %d", t.level), fmt.Sprintf("level %d: %s", level, why), fmt.Sprintf("level: %d", level))
	}
	if extra := t.unexpected(b); extra != nil {
		add(reason.ProvenanceParameter, "external parameters "+words(t.known(b)), words(extra), "if they are right: parameters: ["+words(append(t.known(b), extra...))+"]")
	}
	return out
}

// workflow is the workflow that GitHub's build types name, as the certificate
// would.
func (b build) workflow() string {
	if b.buildType != githubAttest && b.buildType != githubWorkflow {
		return ""
	}
	w, _ := b.parameters["workflow"].(map[string]any)
	part := func(name string) string { s, _ := w[name].(string); return s }
	return part("repository") + "/" + part("path") + "@" + part("ref")
}

func (t buildTerms) named() string {
	switch {
	case t.entry != nil:
		return "builder " + t.entry.name + " (" + t.entry.id + ")"
	default:
		return "builder " + t.builder
	}
}

// believed is the SLSA build level up to which the terms believe this signer
// about this builder, and why; 0 if the builder is another one.
func (t buildTerms) believed(b build, s evidence.Signer) (level int64, why string) {
	switch {
	case t.entry != nil && b.builder != t.entry.id:
		return 0, "builder " + b.builder
	case t.entry != nil:
		if !slices.ContainsFunc(t.entry.by, func(id Identity) bool { return len(id.Differences(s)) == 0 }) {
			return 0, "builder " + b.builder + " according to " + s.String() + ", whom builders: does not believe about it"
		}
		return t.entry.level, "as builders: says of " + t.entry.name
	case t.builder == githubHosted:
		return t.hosted(b, s)
	case b.builder != t.builder:
		return 0, "builder " + b.builder
	}
	return 1, "a builder without an entry in builders: is believed up to level 1"
}

// githubRunner is the builder.id of older provenance from runners that GitHub
// operates.
const githubRunner = "https://github.com/actions/runner/github-hosted"

// hosted says up to which level a build on GitHub's own runners is believed:
// the certificate must say that it ran there. Level 3 needs a reusable workflow,
// which the build's own repository cannot change.
func (t buildTerms) hosted(b build, s evidence.Signer) (level int64, why string) {
	switch {
	case s.Issuer != githubIssuer || s.RunnerEnvironment != githubHosted:
		return 0, "runner " + cmp.Or(s.RunnerEnvironment, "none") + " of issuer " + cmp.Or(s.Issuer, "none") + " in the signer's certificate"
	case b.builder != githubRunner && b.builder != s.BuildSignerURI:
		return 0, "builder " + b.builder + ", and the certificate says " + s.BuildSignerURI
	case s.BuildSignerURI == s.BuildConfigURI:
		return 2, "the workflow that built also signed; level 3 needs a reusable workflow that signs"
	}
	return 3, "signed by the reusable workflow " + s.BuildSignerURI
}

// known are the external parameters that the terms allow.
func (t buildTerms) known(b build) []string {
	if t.parameters != nil {
		return slices.Clone(t.parameters)
	}
	if b.buildType == githubAttest || b.buildType == githubWorkflow {
		return []string{"workflow"}
	}
	return []string{"source"}
}

// unexpected are the external parameters beyond those; an empty object is no
// parameter.
func (t buildTerms) unexpected(b build) (out []string) {
	known := t.known(b)
	for _, name := range slices.Sorted(maps.Keys(b.parameters)) {
		if m, ok := b.parameters[name].(map[string]any); ok && len(m) == 0 {
			continue
		}
		if !slices.Contains(known, name) {
			out = append(out, clip(name))
		}
	}
	return out
}
