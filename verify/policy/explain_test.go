package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestExplain explains the places and names of testdata/explain. Every field says
// what it is for, and every demand who is believed and what makes the evidence.
func TestExplain(t *testing.T) {
	for _, file := range cases(t, "explain", 5) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			doc := part(a, "policy.yaml")
			if at := strings.TrimSpace(part(a, "policy")); at != "" {
				raw, err := os.ReadFile("testdata/" + at)
				if err != nil {
					t.Fatal(err)
				}
				doc = string(raw)
			}
			p, err := Parse([]byte(expand(t, doc, nil)), "policy.yaml", keyFile)
			if err != nil {
				t.Fatal(err)
			}
			var all []Explanation
			ask := strings.TrimSpace(part(a, "ask"))
			if word, name, named := strings.Cut(ask, " "); named || !strings.Contains(ask, "[") {
				ref, err := artifact.Parse(word)
				if err != nil {
					t.Fatal(err)
				}
				if named {
					ref = ref.Named(name)
				}
				all, err = ExplainName(p, ref)
				if err != nil {
					t.Fatal(err)
				}
			} else if all, err = Explain(p, ask); err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, e := range all {
				b.WriteString(e.Text())
				demand := strings.Contains(e.Where, "require")
				if e.Line == 0 || e.Says == "" || len(e.Fields) == 0 || demand != (e.Command != "") || demand != (len(e.Signers) > 0) {
					t.Errorf("%s lacks something: %+v", e.Where, e)
				}
				for _, f := range e.Fields {
					if f.Value == "" || f.Why == "" {
						t.Errorf("%s.%s: value %q, why %q", e.Where, f.Key, f.Value, f.Why)
					}
				}
			}
			golden(t, file, a, mask(b.String()))
		})
	}
}

// TestExplainPlace: what is not there is refused, and what is there named.
func TestExplainPlace(t *testing.T) {
	p, err := Parse([]byte(ids+image), "policy.yaml", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"images[1]", "models", "identities.nobody", "identities[0]", "box", "box.limits", "deny[0]", "images[0].require[1]", "images[0].require[00]", "models[0]", "images[0].require[0].pin", "images[0].match", ""} {
		all, err := Explain(p, place)
		if e, ok := reason.Of(err); !ok || e.Code != reason.PolicyPlace || all != nil || !strings.Contains(e.Expected, "images[0]") {
			t.Errorf("%q: %v, %v", place, all, err)
		}
	}
	for _, name := range []string{"registry.example/b", "registry.example/a/b", "localhost/a"} {
		ref, err := artifact.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		all, err := ExplainName(p, ref)
		if e, ok := reason.Of(err); !ok || e.Code != reason.PolicyNoMatch || all != nil || e.Next != "ztlaunch policy init "+ref.String() {
			t.Errorf("%q: %v, %v", name, all, err)
		}
	}
}

// TestExplainApart: what is no rule, in the words of the schema.
func TestExplainApart(t *testing.T) {
	doc := "identities: {release.key: {key: keys/release.pub, until: 2027-01-01}}\nbuilders: {ci: {id: https://ci.example, by: [release.key], level: 2}}\n" +
		"images: [{match: registry.example/a, require: [{provenance: {by: [release.key], builder: ci}}]}]\nbox: {limits: {pids: 256}, egress: []}\ndeny: [\"${manifest}\"]\n"
	p, err := Parse([]byte(expand(t, doc, nil)), "policy.yaml", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]string{
		"identities":             "identities.release.key, line 1: Somebody who is believed",
		"identities.release.key": "  release.key is key sha256:",
		"builders.ci":            "  level: 2\n",
		"box":                    "box, line 4: ",
		"deny":                   "deny, line 5: Digests that nothing admits",
		"images":                 "images[0].require[0].provenance, line 3",
	} {
		all, err := Explain(p, place)
		said := ""
		for _, e := range all {
			said += e.Text()
			for _, f := range e.Fields {
				if e.Says == "" || f.Value == "" || f.Why == "" {
					t.Errorf("%s: %+v says %q", place, f, e.Says)
				}
			}
		}
		if err != nil || !strings.Contains(said, want) || !IsPlace(place) {
			t.Errorf("%s: %v, %q, want %q", place, err, said, want)
		}
	}
	for _, word := range []string{"registry.example/images", "boxes", "policy.yaml", "imagesx[0]", "box:1", "box/images", "images.example/a", "images:1"} {
		if IsPlace(word) {
			t.Errorf("%s is taken for a place", word)
		}
	}
}

// TestProposal: what is proposed for a name that no rule has, as it is typed.
func TestProposal(t *testing.T) {
	doc := ids + "models: [{match: models/**, require: [{signature: {by: [release]}}]}]\nimages: [{match: registry.example/a, require: [{signature: {by: [release]}}]}]\n"
	p, err := Parse([]byte(doc), "policy.yaml", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		word, as string
		server   bool
		want     string
	}{
		{"registry.example/b", "", false, "ztlaunch policy init registry.example/b:latest"},
		{"registry.example/b", "", true, "ztlaunch policy init --kind server registry.example/b:latest"},
		{"oci-layout:./agent.d", "localhost/agent", false, "ztlaunch policy init oci-layout:./agent.d"},
		{"oci-layout:./my agent", "registry.example/mine", false, "ztlaunch policy init 'oci-layout:./my agent' --as registry.example/mine"},
		{"model:./small", "small", false, "--as models/small, if that is what the policy calls it; or ztlaunch policy init model:./small"},
		{"model:../task/models/small", "small", false, "--as models/small, if that is what the policy calls it; or ztlaunch policy init model:../task/models/small"},
		{"model:./other/small", "x/y", false, "--as models/y, if that is what the policy calls it; or ztlaunch policy init model:./other/small --as x/y"},
	} {
		ref, err := artifact.Parse(c.word)
		if err != nil {
			t.Fatal(err)
		}
		if c.as != "" {
			ref = ref.Named(c.as)
		}
		if c.server {
			ref = ref.As(artifact.MCP)
		}
		_, err = ExplainName(p, ref)
		if e, ok := reason.Of(err); !ok || e.Code != reason.PolicyNoMatch || e.Next != c.want {
			t.Errorf("%s as %q: %v, want next %q", c.word, c.as, err, c.want)
		}
	}
}

// TestProposalAdopted: under another policy than the one that adopt wrote to.
func TestProposalAdopted(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/policy-no-match.txtar")
	s.in.Places = map[digest.Digest]string{s.in.Claims[0].Envelope(): "adopt"}
	if f := Evaluate(s.policy, s.in).Findings(); f[len(f)-1].Code != reason.PolicyNoMatch || !strings.HasPrefix(f[len(f)-1].Next, "leave --policy out: ") {
		t.Errorf("%+v", f)
	}
}
