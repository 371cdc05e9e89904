package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// edit is a predicate in which the member at a path, "a/b/0/c", has another value;
// nil removes it.
func edit(t *testing.T, predicate map[string]any, value any, path string) map[string]any {
	t.Helper()
	raw, err := json.Marshal(predicate)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	if path == "" {
		return root
	}
	parts := strings.Split(path, "/")
	at := root
	for _, part := range parts[:len(parts)-1] {
		switch next := at[part].(type) {
		case map[string]any:
			at = next
		case []any:
			at = map[string]any{"0": next[0]}
		default:
			t.Fatalf("%s: no %s", path, part)
		}
	}
	if last := parts[len(parts)-1]; value == nil {
		delete(at, last)
	} else {
		at[last] = value
	}
	return root
}

// generated is what slsa-github-generator writes, in provenance v0.2, for a run
// that signer's certificate describes.
func generated(s evidence.Signer) map[string]any {
	from := map[string]any{"uri": "git+" + s.SourceRepositoryURI + "@" + s.SourceRepositoryRef, "digest": map[string]any{"sha1": s.SourceRepositoryDigest}}
	return map[string]any{
		"builder": map[string]any{"id": s.BuildSignerURI}, "buildType": githubGenerator + "container@v1",
		"invocation": map[string]any{
			"configSource": map[string]any{"uri": from["uri"], "digest": from["digest"], "entryPoint": flow},
			"parameters":   map[string]any{}, "environment": map[string]any{"github_event_name": "push"}},
		"metadata":  map[string]any{"buildInvocationID": "1003-1", "completeness": map[string]any{"parameters": true}, "reproducible": false},
		"materials": []any{from},
	}
}

// TestProvenanceFields changes one member of a build's provenance at a time, in
// v1 as GitHub's own action writes it and in v0.2 as slsa-github-generator does,
// signed in a run of which a certificate speaks, and sees exactly the code for it.
func TestProvenanceFields(t *testing.T) {
	ci := signedBy("https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0")
	trusts := strings.Replace(trusted, "ref: refs/tags/v*}", "ref: refs/tags/v*, signer: https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v*}", 1)
	demand := func(more string) string {
		return trusts + "images: [{match: registry.example/agents/coder, require: [{provenance: {by: [release], source: github.com/acme/agent, ref: refs/tags/v1.*, builder: github-hosted, level: 3" + more + "}}]}]\n"
	}
	type codes = []reason.Code
	const v1, v02 = evidence.PredicateSLSAProvenanceV1, evidence.PredicateSLSAProvenanceV02
	const workflow = "buildDefinition/externalParameters/workflow/"
	other := strings.Repeat("b", 40)
	for _, c := range []struct {
		name, predicateType string
		value               any
		path                string
		more                string
		want                codes
	}{
		{"v1", v1, nil, "", "", nil},
		{"v1-type", v1, "https://x.example/b", "buildDefinition/buildType", ", buildType: " + githubAttest, codes{reason.ProvenanceBuildType, reason.ProvenanceParameter}},
		{"v1-no-type", v1, nil, "buildDefinition/buildType", "", codes{reason.ProvenanceMalformed}},
		{"v1-no-parameters", v1, nil, "buildDefinition/externalParameters", "", codes{reason.ProvenanceMalformed}},
		{"v1-no-workflow", v1, nil, "buildDefinition/externalParameters/workflow", "", codes{reason.ProvenanceMalformed}},
		{"v1-repository", v1, "https://github.com/acme-evil/agent", workflow + "repository", "", codes{reason.ProvenanceSource, reason.ProvenanceContradicts}},
		{"v1-no-repository", v1, nil, workflow + "repository", "", codes{reason.ProvenanceMalformed}},
		{"v1-ref", v1, "refs/heads/main", workflow + "ref", "", codes{reason.ProvenanceRef, reason.ProvenanceContradictory, reason.ProvenanceContradicts}},
		{"v1-ref-of-another-run", v1, "refs/tags/v1.5", workflow + "ref", "", codes{reason.ProvenanceContradictory, reason.ProvenanceContradicts}},
		{"v1-no-ref", v1, "", workflow + "ref", "", codes{reason.ProvenanceMalformed}},
		{"v1-path", v1, ".github/workflows/debug.yml", workflow + "path", "", codes{reason.ProvenanceContradicts}},
		{"v1-inputs", v1, map[string]any{"debug": "true"}, "buildDefinition/externalParameters/inputs", "", codes{reason.ProvenanceParameter}},
		{"v1-inputs-named", v1, map[string]any{"debug": "true"}, "buildDefinition/externalParameters/inputs", ", parameters: [inputs]", nil},
		{"v1-inputs-equal", v1, map[string]any{"debug": "false", "n": 3}, "buildDefinition/externalParameters/inputs", `, parameters: {inputs: {n: 3, debug: "false"}}`, nil},
		{"v1-inputs-other", v1, map[string]any{"debug": "true"}, "buildDefinition/externalParameters/inputs", `, parameters: {inputs: {debug: "false"}}`, codes{reason.ProvenanceParameterWrong}},
		{"v1-inputs-more", v1, map[string]any{"debug": "false", "x": "y"}, "buildDefinition/externalParameters/inputs", `, parameters: {inputs: {debug: "false"}}`, codes{reason.ProvenanceParameterWrong}},
		{"v1-inputs-type", v1, map[string]any{"debug": false}, "buildDefinition/externalParameters/inputs", `, parameters: {inputs: {debug: "false"}}`, codes{reason.ProvenanceParameterWrong}},
		{"v1-inputs-absent", v1, nil, "", `, parameters: {inputs: {debug: "false"}}`, codes{reason.ProvenanceParameterAbsent}},
		{"v1-inputs-empty", v1, map[string]any{}, "buildDefinition/externalParameters/inputs", `, parameters: {inputs: {debug: "false"}}`, codes{reason.ProvenanceParameterAbsent}},
		{"v1-workflow-fixed", v1, nil, "", ", parameters: {workflow: {repository: https://github.com/acme/agent, ref: refs/tags/v1.4, path: " + flow + "}}", nil},
		{"v1-workflow-fixed-elsewhere", v1, nil, "", ", parameters: {workflow: {repository: https://github.com/acme/agent, ref: refs/tags/v1.5, path: " + flow + "}}", codes{reason.ProvenanceParameterWrong}},
		{"v1-workflow-more", v1, "curl evil", workflow + "script", "", codes{reason.ProvenanceParameter}},
		{"v1-workflow-more-named", v1, "curl evil", workflow + "script", ", parameters: [workflow]", nil},
		{"v1-dependency-ref", v1, "git+https://github.com/acme/agent@refs/heads/main", "buildDefinition/resolvedDependencies/0/uri", "", codes{reason.ProvenanceContradictory}},
		{"v1-dependency-commit", v1, other, "buildDefinition/resolvedDependencies/0/digest/gitCommit", "", codes{reason.ProvenanceContradicts}},
		{"v1-dependency-two-commits", v1, other, "buildDefinition/resolvedDependencies/0/digest/sha1", "", codes{reason.ProvenanceMalformed}},
		{"v1-dependency-elsewhere", v1, "git+https://github.com/acme/library@refs/heads/main", "buildDefinition/resolvedDependencies/0/uri", "", nil},
		{"v1-builder", v1, "https://github.com/acme/ci/.github/workflows/x.yml@refs/tags/v1", "runDetails/builder/id", "", codes{reason.ProvenanceBuilder}},
		{"v1-builder-tag", v1, strings.Replace(ci.SAN, "v2.1.0", "v2.0.0", 1), "runDetails/builder/id", "", codes{reason.ProvenanceBuilder}},
		{"v1-no-builder", v1, nil, "runDetails/builder", "", codes{reason.ProvenanceMalformed}},
		{"v1-time", v1, "yesterday", "runDetails/metadata/startedOn", "", codes{reason.ProvenanceMalformed}},

		{"v02", v02, nil, "", "", nil},
		{"v02-other-version", "https://slsa.dev/provenance/v0.1", nil, "", "", codes{reason.ProvenanceUnsupported}},
		{"v02-type", v02, githubGenerator + "generic@v1", "buildType", ", buildType: " + githubGenerator + "container@v1", codes{reason.ProvenanceBuildType}},
		{"v02-no-type", v02, nil, "buildType", "", codes{reason.ProvenanceMalformed}},
		{"v02-no-invocation", v02, nil, "invocation", "", codes{reason.ProvenanceMalformed}},
		{"v02-no-config", v02, nil, "invocation/configSource", "", codes{reason.ProvenanceMalformed}},
		{"v02-uri", v02, "git+https://github.com/acme-evil/agent@refs/tags/v1.4", "invocation/configSource/uri", "", codes{reason.ProvenanceSource, reason.ProvenanceContradicts}},
		{"v02-ref", v02, "git+https://github.com/acme/agent@refs/heads/main", "invocation/configSource/uri", "", codes{reason.ProvenanceRef, reason.ProvenanceContradictory, reason.ProvenanceContradicts}},
		{"v02-ref-slash", v02, "git+https://github.com/acme/agent@refs/tags/v1.4/x", "invocation/configSource/uri", "", codes{reason.ProvenanceRef, reason.ProvenanceContradictory, reason.ProvenanceContradicts}},
		{"v02-no-ref", v02, "git+https://github.com/acme/agent", "invocation/configSource/uri", "", codes{reason.ProvenanceRefAbsent, reason.ProvenanceContradicts}},
		{"v02-user", v02, "git+https://github.com@evil.example/acme/agent@refs/tags/v1.4", "invocation/configSource/uri", "", codes{reason.ProvenanceSource, reason.ProvenanceRefAbsent, reason.ProvenanceContradicts}},
		{"v02-commit", v02, other, "invocation/configSource/digest/sha1", "", codes{reason.ProvenanceContradictory, reason.ProvenanceContradicts}},
		{"v02-entry", v02, ".github/workflows/debug.yml", "invocation/configSource/entryPoint", "", codes{reason.ProvenanceContradicts}},
		{"v02-no-entry", v02, nil, "invocation/configSource/entryPoint", "", codes{reason.ProvenanceMalformed}},
		{"v02-entry-named", v02, nil, "", ", parameters: {entryPoint: " + flow + "}", nil},
		{"v02-entry-named-other", v02, nil, "", ", parameters: {entryPoint: release}", codes{reason.ProvenanceParameterWrong}},
		{"v02-entry-twice", v02, flow, "invocation/parameters/entryPoint", "", codes{reason.ProvenanceMalformed}},
		{"v02-parameter", v02, "x", "invocation/parameters/script", "", codes{reason.ProvenanceParameter}},
		{"v02-parameter-named", v02, "x", "invocation/parameters/script", ", parameters: [script]", nil},
		{"v02-parameters-list", v02, []any{"x"}, "invocation/parameters", "", codes{reason.ProvenanceMalformed}},
		{"v02-environment", v02, "x", "invocation/environment", "", codes{reason.ProvenanceMalformed}},
		{"v02-material-ref", v02, "git+https://github.com/acme/agent@refs/heads/main", "materials/0/uri", "", codes{reason.ProvenanceContradictory}},
		{"v02-material-commit", v02, other, "materials/0/digest/sha1", "", codes{reason.ProvenanceContradictory}},
		{"v02-materials", v02, "x", "materials", "", codes{reason.ProvenanceMalformed}},
		{"v02-builder", v02, "https://github.com/acme/ci/.github/workflows/x.yml@refs/tags/v1", "builder/id", "", codes{reason.ProvenanceBuilder}},
		{"v02-runner", v02, githubRunners[0], "builder/id", "", nil},
		{"v02-runner-own", v02, githubRunners[0] + "/self-hosted", "builder/id", "", codes{reason.ProvenanceBuilder}},
		{"v02-no-builder", v02, nil, "builder", "", codes{reason.ProvenanceMalformed}},
		{"v02-time", v02, 7, "metadata/buildStartedOn", "", codes{reason.ProvenanceMalformed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.in.Now = verifytest.Epoch().Add(time.Hour)
			base := attested(ci)
			if c.predicateType != v1 {
				base = generated(ci)
			}
			s.sign(t, ci, c.predicateType, edit(t, base, c.value, c.path))
			denies(t, s.decide(t, demand(c.more)), c.want...)
		})
	}
}

// TestRefOfCertificate: where the build type names no workflow, a demand for a ref
// holds the provenance to the ref and commit that the signer's certificate names.
func TestRefOfCertificate(t *testing.T) {
	const demand = trusted + "images: [{match: registry.example/agents/coder, require: [{provenance: {by: [release], source: github.com/acme/agent, builder: github-hosted%s}}]}]\n"
	built := func(ref, commit string) map[string]any {
		from := map[string]any{"uri": "git+https://github.com/acme/agent@" + ref, "digest": map[string]any{"gitCommit": commit}}
		return map[string]any{
			"buildDefinition": map[string]any{"buildType": "https://x.example/b", "externalParameters": map[string]any{"source": from}},
			"runDetails":      map[string]any{"builder": map[string]any{"id": release.BuildSignerURI}},
		}
	}
	for _, c := range []struct {
		ref, commit, more string
		want              []reason.Code
	}{
		{tag, release.SourceRepositoryDigest, ", ref: refs/tags/v*", nil},
		{"refs/tags/v1.5", release.SourceRepositoryDigest, ", ref: refs/tags/v*", []reason.Code{reason.ProvenanceContradicts}},
		{tag, strings.Repeat("b", 40), ", ref: refs/tags/v*", []reason.Code{reason.ProvenanceContradicts}},
		{"refs/tags/v1.5", strings.Repeat("b", 40), "", nil}, // a build of another ref than its workflow's, and nobody asked
	} {
		s := newStage(t)
		s.sign(t, release, evidence.PredicateSLSAProvenanceV1, built(c.ref, c.commit))
		denies(t, s.decide(t, strings.Replace(demand, "%s", c.more, 1)), c.want...)
	}
}

// TestLocate: what a URI says about where source comes from.
func TestLocate(t *testing.T) {
	commit := strings.Repeat("0a", 20)
	for _, c := range []struct {
		uri     string
		context bool
		want    place
	}{
		{"git+https://github.com/acme/agent.git@refs/tags/v1.4", false, place{"github.com/acme/agent", "refs/tags/v1.4", "c"}},
		{"git+https://github.com/acme/agent@refs/tags/v1.4#folder", false, place{"github.com/acme/agent", "refs/tags/v1.4", "c"}},
		{"git+https://github.com/acme/agent@" + commit, false, place{"github.com/acme/agent", "", "c"}},
		{"git+https://github.com/acme/agent", false, place{"github.com/acme/agent", "", "c"}},
		{"https://github.com/acme/agent", false, place{"github.com/acme/agent", "", "c"}},
		{"https://github.com/acme/agent#refs/tags/v1", false, place{"github.com/acme/agent#refs/tags/v1", "", "c"}},
		{"https://github.com/acme/agent.git#refs/tags/v1:docker", true, place{"github.com/acme/agent", "refs/tags/v1", "c"}},
		{"https://github.com/acme/agent.git", true, place{"github.com/acme/agent", "", "c"}},
		{"git+https://github.com@evil.example/acme/agent@refs/tags/v1", false, place{}},
		{"git+ssh://git@github.com/acme/agent@refs/tags/v1", false, place{}},
		{"https://user@github.com/acme/agent#refs/tags/v1", true, place{}},
		{"", false, place{}},
	} {
		if got := locate(c.uri, c.context, "c"); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.uri, got, c.want)
		}
	}
	if got := locate("git+https://a.example/r@"+commit, false, ""); got.commit != commit {
		t.Errorf("%+v", got)
	}
}

// TestBuildkit: BuildKit names the source in configSource, and everything that it
// was asked for besides must be named.
func TestBuildkit(t *testing.T) {
	config := map[string]any{"uri": "https://github.com/acme/agent.git#refs/tags/v1.4", "digest": map[string]any{"sha1": strings.Repeat("a", 40)}}
	v1 := map[string]any{
		"buildDefinition": map[string]any{"buildType": buildkit, "externalParameters": map[string]any{"configSource": config, "request": map[string]any{"frontend": "dockerfile.v0"}}},
		"runDetails":      map[string]any{"builder": map[string]any{"id": "https://ci.example/x"}},
	}
	v02 := map[string]any{
		"builder": map[string]any{"id": "https://ci.example/x"}, "buildType": buildkit0,
		"invocation": map[string]any{"configSource": edit(t, config, "Dockerfile", "entryPoint"), "parameters": map[string]any{"frontend": "dockerfile.v0"}},
		"materials":  []any{map[string]any{"uri": "pkg:docker/alpine@3.17", "digest": map[string]any{"sha256": "aa"}}},
	}
	say := func(p map[string]any) string {
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	const demand = "{provenance: {by: [release], source: github.com/acme/agent, ref: refs/tags/v*, builder: https://ci.example/x, parameters: "
	denies(t, under(t, demand+"{request: {frontend: dockerfile.v0}}}}", said{evidence.PredicateSLSAProvenanceV1, say(v1)}))
	denies(t, under(t, demand+"[]}}", said{evidence.PredicateSLSAProvenanceV1, say(v1)}), reason.ProvenanceParameter)
	denies(t, under(t, demand+"{frontend: dockerfile.v0}}}", said{evidence.PredicateSLSAProvenanceV02, say(v02)}))
	denies(t, under(t, demand+"{frontend: gateway.v0}}}", said{evidence.PredicateSLSAProvenanceV02, say(v02)}), reason.ProvenanceParameterWrong)
	local := edit(t, v02, nil, "invocation/configSource/uri")
	denies(t, under(t, demand+"[frontend]}}", said{evidence.PredicateSLSAProvenanceV02, say(local)}), reason.ProvenanceSource, reason.ProvenanceRefAbsent)
}

// TestLinesOfProvenance: policies that differ in a ref, or in the value or type of
// a parameter, do not pass for equal.
func TestLinesOfProvenance(t *testing.T) {
	seen := map[string]string{}
	for _, more := range []string{"", ", ref: refs/tags/v*", ", ref: refs/tags/v1", ", parameters: [a]", ", parameters: {a: x}", ", parameters: {a: y}", ", parameters: {a: 1}",
		`, parameters: {a: "1"}`, ", parameters: {a: true}", `, parameters: {a: "true"}`, ", parameters: {a: [x]}", ", parameters: {a: {x: y}}", ", parameters: {b: x}"} {
		p, err := Parse([]byte(demanded("{provenance: {by: [release], builder: https://ci.example"+more+"}}")), "p", keyFile)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(p.lines(), "\n")
		if was, twice := seen[text]; twice {
			t.Errorf("%q and %q are one policy", was, more)
		}
		seen[text] = more
	}
}
