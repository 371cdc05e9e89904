package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestFeedLogsDemanded: a log that the feed takes back is none of those that logs: asks
// for, unless somebody else proves that the signature is older.
func TestFeedLogsDemanded(t *testing.T) {
	epoch := verifytest.Epoch()
	for since, want := range map[time.Duration]reason.Code{0: reason.LogsUnmet, time.Second: reason.LogsUnmet, time.Hour: ""} {
		s := newStage(t)
		s.add(t, s.sigstore.Attest(t, release, verifytest.Statement(t, evidence.PredicateCosignSign, struct{}{}, manifestSum.Encoded()),
			verifytest.Options{Log: verifytest.RekorV2, Also: []verifytest.Version{verifytest.RekorV1}, StampAt: epoch.Add(time.Minute)}))
		_, logs := authorities(t, s.sigstore)
		const rule = trusted + "images: [{match: registry.example/agents/coder, require: [{signature: {by: [release], logs: 2}}]}]\n"
		if d := s.decide(t, rule); !d.Allowed() {
			t.Fatal(show(d))
		}
		at := ""
		if since > 0 {
			at = fmt.Sprintf(`"since": %q, `, epoch.Add(since).Format(time.RFC3339))
		}
		text := strings.Replace(feedText(fmt.Sprintf(`"logs": [{"id": %q, %s"reason": "forked"}]`, logs[0], at)), "2026-06-01", epoch.Format(time.DateOnly), 1)
		var err error
		if s.in.Feed, err = ParseFeed([]byte(text), "deny.json"); err != nil {
			t.Fatal(err)
		}
		if d := s.decide(t, rule); codes(d) != string(want) || d.Allowed() != (want == "") {
			t.Errorf("since %v: %s, want %q:\n%s", since, codes(d), want, show(d))
		}
	}
}

// TestFeedFunctionary: a step of a layout that only somebody did whom the feed names
// was done by nobody, also when the feed says so later.
func TestFeedFunctionary(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-intoto.txtar")
	before := Evaluate(s.policy, s.in)
	if !before.Allowed() {
		t.Fatal(show(before))
	}
	feed, err := ParseFeed([]byte(feedText(fmt.Sprintf(`"signers": [{"key": %q, "reason": "stolen"}]`, cast()["other"].public.ID()))), "deny.json")
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := reason.Of(before.Denied(feed, now)); !ok || e.Code != reason.SignerDenied || !strings.Contains(e.Found, "step build") {
		t.Errorf("asked afterwards: %v", e)
	}
	feed.policy = s.policy.sum
	s.in.Feed = feed
	if d := Evaluate(s.policy, s.in); d.Allowed() || codes(d) != string(reason.SignerDenied) {
		t.Error(show(d))
	}
	enough := []steps.Step{{Name: "build", Functionaries: []string{cast()["other"].public.ID(), cast()["security"].public.ID()}, Threshold: 1}}
	if why := feed.steps(enough); why != nil {
		t.Errorf("one of two is left, and one is enough: %+v", why)
	}
}

// TestKeyWindowOfItsName: an identity whose key may no longer sign is not met by the
// same key under a name that may.
func TestKeyWindowOfItsName(t *testing.T) {
	s := loadScene(t, "testdata/evaluate/ok-signature.txtar")
	by := &s.policy.rules[0].demands[0].by[0]
	by.key = by.key.Within(time.Time{}, now.Add(-time.Hour))
	if d := Evaluate(s.policy, s.in); d.Allowed() || codes(d) != string(reason.KeyOutsideWindow) {
		t.Error(show(d))
	}
	by.key = by.key.Within(now.Add(-time.Hour), time.Time{})
	if d := Evaluate(s.policy, s.in); !d.Allowed() {
		t.Error(show(d))
	}
}

// TestAsksSBOM: only whom a rule asks for an SBOM has one read.
func TestAsksSBOM(t *testing.T) {
	p, err := Parse([]byte("identities: {release: {key: keys/release.pub}, security: {key: keys/security.pub}}\n"+
		"images: [{match: registry.example/a, require: [{signature: {by: [security]}}, {sbom: {by: [release], covers: all}}]}]\n"), "p", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"release": true, "security": false, "other": false} {
		if got := p.AsksSBOM(evidence.Signer{Key: cast()[name].public.ID()}); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
