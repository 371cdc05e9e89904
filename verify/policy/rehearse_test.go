package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
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

// TestSupposedLayoutDecidesNothing: an in-toto layout that nobody proved denies, where
// the same one was proved or is rehearsed.
func TestSupposedLayoutDecidesNothing(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-intoto.txtar")
	if !Evaluate(s.policy, s.in).Allowed() {
		t.Fatal("the proved layout is not enough")
	}
	o := s.in.Layout
	like, err := steps.Suppose(steps.Supposition{Signers: o.Signers(), Steps: o.Steps(), Products: o.Products(), Until: o.Until()})
	if err != nil {
		t.Fatal(err)
	}
	s.in.Layout = like
	refusesInput(t, s)
	if r := Rehearse(s.policy, s.in); !r.Allowed {
		t.Errorf("rehearsed %v", r.Codes())
	}
}

// TestSupposedFeedDecidesNothing: a deny feed that nobody signed is no feed, whatever
// it says, and is asked nothing later. Where it is rehearsed it is one.
func TestSupposedFeedDecidesNothing(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-deny-feed-max-age.txtar")
	want := Evaluate(s.policy, s.in)
	if !want.Allowed() {
		t.Fatal(show(want))
	}
	suppose := func(by evidence.Signer, issued string) (Feed, error) {
		return s.policy.SupposeFeed([]byte(strings.Replace(feedText(""), "2026-06-01", issued, 1)), by, s.in.Now)
	}
	like, err := suppose(s.in.Feed.Signer, "2026-06-01")
	if err != nil {
		t.Fatal(err)
	}
	proved := s.in.Feed
	s.in.Feed = like
	refusesInput(t, s)
	if r := Rehearse(s.policy, s.in); !r.Allowed {
		t.Errorf("rehearsed %v", r.Codes())
	}
	if e, ok := reason.Of(want.Denied(like, s.in.Now)); !ok || e.Code != reason.DecisionInput {
		t.Errorf("asked later: %v", e)
	}
	if err := want.Denied(proved, s.in.Now); err != nil {
		t.Error(err)
	}
	for code, wrong := range map[reason.Code]func() (Feed, error){
		reason.DenyFeedWrongIdentity: func() (Feed, error) { return suppose(evidence.Signer{Key: "sha256:00"}, "2026-06-01") },
		reason.DenyFeedFuture:        func() (Feed, error) { return suppose(s.in.Feed.Signer, "2026-06-30") },
		reason.DenyFeedMalformed:     func() (Feed, error) { return suppose(s.in.Feed.Signer, "2026-08-01") },
		reason.DecisionInput:         func() (Feed, error) { return Policy{}.SupposeFeed([]byte(feedText("")), s.in.Feed.Signer, s.in.Now) },
	} {
		feed, err := wrong()
		if e, ok := reason.Of(err); !ok || e.Code != code || !feed.Zero() {
			t.Errorf("%v, want %s", err, code)
		}
	}
}

// TestFeedRefused: a feed that is not believed denies with its own code, and nothing
// else is asked; by a policy that names none it is not asked for.
func TestFeedRefused(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-deny-feed-max-age.txtar")
	s.in.FeedRefused = &reason.Error{Code: reason.DenyFeedAbsent, What: "read the deny feed", Expected: "deny.json", Found: "no such file"}
	for _, feed := range []Feed{s.in.Feed, {}} {
		s.in.Feed = feed
		d := Evaluate(s.policy, s.in)
		if all := d.Findings(); d.Allowed() || len(all) != 1 || all[0].Code != reason.DenyFeedAbsent || all[0].Rule != "denyFeed" || all[0].Line == 0 || all[0].Found != "no such file" {
			t.Errorf("%s", show(d))
		}
	}
	s.policy.feed = feedTerms{}
	if d := Evaluate(s.policy, s.in); !d.Allowed() {
		t.Errorf("%s", show(d))
	}
}

// refusesInput holds that a scene is nothing to decide on.
func refusesInput(t *testing.T, s scene) {
	t.Helper()
	d := Evaluate(s.policy, s.in)
	if d.Allowed() || d.Exit() != reason.Internal.Exit() || len(d.Findings()) != 1 || d.Findings()[0].Code != reason.DecisionInput || d.Proved() != nil {
		t.Errorf("%s", show(d))
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
		if alone := got.Alone(); !known[alone] && alone != "images" && alone != "models" && alone != "servers" && (s.in.Feed.Zero() || s.policy.DenyFeed() != "") {
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
		{"images: [" + open + "]\ndenyFeed: {file: deny.json, by: [release]}", "denyFeed images[0].require[0].signature"},
	} {
		p, err := Parse([]byte(expand(t, ids+c.doc+"\n", nil)), "policy.yaml", keyFile)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range p.Conditions() {
			got = append(got, c.Where)
			if c.Line < 2 || c.Where != "deny" && c.Where != "denyFeed" && !strings.HasPrefix(c.Where, c.Rule+".") {
				t.Errorf("%+v", c)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q", c.doc, got)
		}
	}
}
