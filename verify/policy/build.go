package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
)

// provenanceTypes are the versions of SLSA provenance that are read.
var provenanceTypes = []string{evidence.PredicateSLSAProvenanceV1, evidence.PredicateSLSAProvenanceV02}

func provenanceName(predicateType string) string {
	return "SLSA provenance " + strings.TrimPrefix(predicateType, provenanceFamily)
}

// build is what SLSA provenance says as far as a demand can ask, alike for v1
// (https://slsa.dev/spec/v1.2/build-provenance) and v0.2
// (https://slsa.dev/spec/v0.2/provenance).
type build struct {
	buildType  string
	builder    string
	origin     place   // the source that it was started from
	sources    []place // what it took from git
	workflow   string  // the GitHub workflow that it ran, as a certificate names one
	parameters object  // external ones
	own        string  // the parameter that names the origin and says nothing else; "" if none does
}

// place is where source code comes from.
type place struct {
	repository string // host and path; "" is nobody's
	ref        string // refs/tags/v1; "" if none is named
	commit     string // "" if none is named
}

// Build types whose way of naming a source is known.
const (
	githubAttest    = "https://actions.github.io/buildtypes/workflow/v1"
	githubWorkflow  = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"
	githubWorkflow0 = "https://github.com/Attestations/GitHubActionsWorkflow@v1" // v0.2
	githubGenerator = "https://github.com/slsa-framework/slsa-github-generator/" // v0.2: container@v1, generic@v1, go@v1
	buildkit        = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
	buildkit0       = "https://mobyproject.org/buildkit@v1" // v0.2
)

func readBuild(predicateType string, raw json.RawMessage) (build, error) {
	root, err := decodeObject(raw)
	if err != nil {
		return build{}, err
	}
	var p parser
	var b build
	if predicateType == evidence.PredicateSLSAProvenanceV02 {
		b = p.buildV02(root)
	} else {
		b = p.buildV1(root)
	}
	if !isOrigin(b.parameters[b.own]) {
		b.own = ""
	}
	return b, p.err
}

// isOrigin says whether a parameter names an origin and nothing else.
func isOrigin(v any) bool {
	switch v := v.(type) {
	case nil, string:
		return true
	case map[string]any:
		for member := range v {
			if !slices.Contains([]string{"repository", "ref", "path", "uri", "digest", "name"}, member) {
				return false
			}
		}
		return true
	}
	return false
}

func (p *parser) buildV1(root object) (b build) {
	definition := p.object(root, "buildDefinition", true)
	b.buildType = p.text(definition, "buildType", true)
	b.parameters = p.object(definition, "externalParameters", true)
	p.object(definition, "internalParameters", false)
	b.sources = p.sources(definition, "resolvedDependencies")
	run := p.object(root, "runDetails", true)
	b.builder = p.text(p.object(run, "builder", true), "id", true)
	p.span(p.object(run, "metadata", false), "startedOn", "finishedOn")
	switch b.buildType {
	case githubAttest, githubWorkflow:
		b.own = "workflow"
		w := p.object(b.parameters, "workflow", true)
		repository := p.text(w, "repository", true)
		b.origin = place{repository: source(repository), ref: p.text(w, "ref", true)}
		b.workflow = repository + "/" + p.text(w, "path", true) + "@" + b.origin.ref
		b.pin()
	case buildkit:
		b.own = "configSource"
		config := p.object(b.parameters, "configSource", false)
		if uri := p.text(config, "uri", false); uri != "" {
			b.origin = locate(uri, true, p.commit(config))
			return b
		}
		b.infer()
	default:
		b.own = "source"
		switch from := b.parameters["source"].(type) {
		case nil:
			b.infer()
		case string:
			b.origin = locate(from, false, "")
			b.pin()
		case map[string]any:
			b.origin = locate(p.text(from, "uri", false), false, p.commit(from))
		}
	}
	return b
}

// buildV02 reads provenance v0.2, whose external parameters are the entry point
// and invocation.parameters.
func (p *parser) buildV02(root object) (b build) {
	b.builder = p.text(p.object(root, "builder", true), "id", true)
	b.buildType = p.text(root, "buildType", true)
	github := b.buildType == githubWorkflow0 || strings.HasPrefix(b.buildType, githubGenerator)
	invocation := p.object(root, "invocation", github)
	config := p.object(invocation, "configSource", github)
	uri, entry := p.text(config, "uri", github), p.text(config, "entryPoint", github)
	b.own = "entryPoint"
	b.parameters = maps.Clone(p.object(invocation, "parameters", false))
	if _, twice := b.parameters[b.own]; twice {
		p.fail("parameters hold a second entryPoint")
	}
	if entry != "" {
		if b.parameters == nil {
			b.parameters = object{}
		}
		b.parameters[b.own] = entry
	}
	p.object(invocation, "environment", false)
	b.sources = p.sources(root, "materials")
	p.span(p.object(root, "metadata", false), "buildStartedOn", "buildFinishedOn")
	if uri == "" {
		b.infer()
		return b
	}
	b.origin = locate(uri, b.buildType == buildkit0, p.commit(config))
	b.pin()
	if github {
		b.workflow = "https://" + b.origin.repository + "/" + entry + "@" + b.origin.ref
	}
	return b
}

// sources are the entries of a list of dependencies that are git locators.
func (p *parser) sources(o object, name string) (out []place) {
	for _, dependency := range p.list(o, name, false) {
		uri, commit := p.text(dependency, "uri", false), p.commit(dependency)
		if strings.HasPrefix(uri, "git+") {
			out = append(out, locate(uri, false, commit))
		}
	}
	return out
}

// commit is the commit in a resource's digest set, "" if there is none.
func (p *parser) commit(o object) string {
	set := p.object(o, "digest", false)
	for _, algorithm := range slices.Sorted(maps.Keys(set)) {
		p.text(set, algorithm, true)
	}
	one, other := p.text(set, "gitCommit", false), p.text(set, "sha1", false)
	if one != "" && other != "" && one != other {
		p.fail("digest names two commits")
	}
	return cmp.Or(one, other)
}

// infer takes the only git dependency for the origin, where nothing names one.
func (b *build) infer() {
	for i, s := range b.sources {
		switch {
		case i == 0:
			b.origin = s
		case s.repository != b.origin.repository:
			b.origin = place{}
			return
		default:
			b.origin.ref, b.origin.commit = cmp.Or(b.origin.ref, s.ref), cmp.Or(b.origin.commit, s.commit)
		}
	}
}

// pin takes the commit of the origin from the dependency that it is.
func (b *build) pin() {
	for _, s := range b.sources {
		if b.origin.commit == "" && s.repository == b.origin.repository && (s.ref == b.origin.ref || s.ref == "") {
			b.origin.commit = s.commit
		}
	}
}

// contradiction is how a dependency on the origin's repository names another ref
// or commit than the origin, "" if none does.
func (b build) contradiction() string {
	for _, s := range b.sources {
		switch {
		case s.repository != b.origin.repository || s.repository == "":
		case s.ref != "" && b.origin.ref != "" && s.ref != b.origin.ref:
			return b.origin.ref + " and " + s.ref
		case s.commit != "" && b.origin.commit != "" && s.commit != b.origin.commit:
			return fmt.Sprintf("commits %s and %s", b.origin.commit, s.commit)
		}
	}
	return ""
}

// locate reads where a URI points: a repository, a git+ locator
// git+URL@REF#SUBPATH (SPDX 2.3, section 7.7), or a context as BuildKit writes it,
// URL#REF:FOLDER. A ref that is a commit is one.
func locate(uri string, context bool, commit string) (p place) {
	rest, git := strings.CutPrefix(uri, "git+")
	ref := ""
	switch {
	case git:
		rest, _, _ = strings.Cut(rest, "#")
		p.repository = source("git+" + rest)
		if i := strings.Index(rest, "://"); i >= 0 {
			rest = rest[i+len("://"):]
		}
		_, ref, _ = strings.Cut(rest, "@")
	case context:
		rest, ref, _ = strings.Cut(rest, "#")
		ref, _, _ = strings.Cut(ref, ":")
		p.repository = source(rest)
	default:
		p.repository = source(rest)
	}
	if p.repository == "" {
		return place{}
	}
	p.ref, p.commit = ref, commit
	if len(ref) == 40 && strings.Trim(ref, "0123456789abcdef") == "" {
		p.ref = ""
		if commit == "" {
			p.commit = ref
		}
	}
	return p
}

// source normalises a repository: host and path, without scheme, trailing slash
// and .git, and for a git+ locator without the ref. A locator with a user name is
// nobody's.
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
