package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// supposed is a claim as it would be if nobody had proved it.
func supposed(t *testing.T, c evidence.Claim) evidence.Claim {
	t.Helper()
	at, source := c.Time()
	out, err := evidence.Suppose(evidence.Supposition{Signer: c.Signer(), PredicateType: c.PredicateType(), Predicate: c.Predicate(),
		Subject: c.Subject(), Logs: len(c.Logs()), Legacy: c.Legacy(), Time: at, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSupposedDecidesNothing: one claim that nobody proved, among those that a
// policy asks for, denies; it was proved for the same words.
func TestSupposedDecidesNothing(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-full.txtar")
	if !Evaluate(s.policy, s.in).Allowed() {
		t.Fatal("the proved claims are not enough")
	}
	for i, c := range s.in.Claims {
		in := s.in
		in.Claims = slices.Clone(s.in.Claims)
		in.Claims[i] = supposed(t, c)
		if !in.Claims[i].Supposed() || c.Supposed() {
			t.Error("proved and supposed claims are not told apart")
		}
		d := Evaluate(s.policy, in)
		if d.Allowed() || d.Exit() != reason.Internal.Exit() || len(d.Findings()) != 1 || d.Findings()[0].Code != reason.DecisionInput || d.Proved() != nil {
			t.Errorf("claim %d: %s", i, show(d))
		}
		if _, err := Init(in, nil, 0); err == nil {
			t.Error("a policy was written from what nobody proved")
		}
		if r := Rehearse(s.policy, in); !r.Allowed {
			t.Errorf("claim %d: rehearsed %v", i, r.Codes())
		}
	}
}

// TestRehearseIsEvaluate: supposed claims are taken for what proved ones are, in
// every case.
func TestRehearseIsEvaluate(t *testing.T) {
	for _, file := range cases(t, "evaluate", 60) {
		s := loadScene(t, file)
		want := Evaluate(s.policy, s.in)
		in := s.in
		in.Claims, in.Coverages, in.Places = nil, nil, map[digest.Digest]string{}
		for _, c := range s.in.Claims {
			like := supposed(t, c)
			in.Claims = append(in.Claims, like)
			in.Places[like.Envelope()] = s.in.Places[c.Envelope()]
		}
		got := Rehearse(s.policy, in)
		plain := func(all []Finding) (out []string) {
			for _, f := range all {
				f.Evidence = make([]digest.Digest, len(f.Evidence)) // their envelopes differ
				out = append(out, fmt.Sprintf("%+v", f))
			}
			return out
		}
		if got.Allowed != want.Allowed() || !slices.Equal(plain(got.Findings), plain(want.Findings())) {
			t.Errorf("%s: rehearsed\n%v\ndecided\n%v", file, plain(got.Findings), plain(want.Findings()))
		}
		known := map[string]bool{"": true}
		for _, c := range s.policy.Conditions() {
			known[c.Where] = true
			if c.Line == 0 {
				t.Errorf("%s: %s stands on no line", file, c.Where)
			}
		}
		if alone := got.Alone(); !known[alone] && alone != "images" && alone != "models" && alone != "servers" && s.in.Feed.Zero() {
			t.Errorf("%s: %q denies alone, and is no condition", file, alone)
		}
	}
}

// TestConditions lists what can deny, and no digests of a name that is admitted without
// them.
func TestConditions(t *testing.T) {
	const adopted = "{match: registry.example/a, digests: [\"${%s}\"], require: [{signature: {by: [release]}}]}"
	one, two := fmt.Sprintf(adopted, "manifest"), fmt.Sprintf(adopted, "index")
	open := "{match: registry.example/*, require: [{signature: {by: [release]}}]}"
	for _, c := range []struct{ doc, want string }{
		{"images: [" + one + "]", "images[0].digests images[0].require[0].signature"},
		{"images: [" + one + ", " + two + "]", "images[0].require[0].signature images[1].digests images[1].require[0].signature"},
		{"images: [" + one + ", " + open + "]", "images[0].require[0].signature images[1].require[0].signature"},
		{"images: [" + open + ", " + one + "]", "images[0].require[0].signature images[1].require[0].signature"},
		{"images: [" + one + "]\nservers: [" + open + "]", "images[0].digests images[0].require[0].signature servers[0].require[0].signature"},
		{"models: [{match: m, until: 2027-01-01, formats: [gguf], require: [{signature: {by: [release]}}]}]\ndeny: [\"${other}\"]", "deny models[0].until models[0].formats models[0].require[0].signature"},
	} {
		p, err := Parse([]byte(expand(t, ids+c.doc+"\n", nil)), "policy.yaml", keyFile)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range p.Conditions() {
			got = append(got, c.Where)
			if c.Line < 2 || c.Where != "deny" && !strings.HasPrefix(c.Where, c.Rule+".") {
				t.Errorf("%+v", c)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q", c.doc, got)
		}
	}
}
