package evidence_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestRestamped: whoever has an old signature can have it seen anew. Then the time by
// which it existed is a late one; when it can have begun stays what it was.
func TestRestamped(t *testing.T) {
	s := verifytest.New(t)
	root, err := trust.FromJSON(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	ca := verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	authority, err := trust.ParseAuthority(ca.PEM())
	if err != nil {
		t.Fatal(err)
	}
	key := verifytest.NewKey(t)
	public, err := trust.ParseKey(key.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	root = root.WithAuthorities(authority).With(public)
	st := verifytest.Statement(t, evidence.PredicateCosignSign, struct{}{}, image.Encoded())
	late := verifytest.Epoch().Add(30 * 24 * time.Hour)
	check := func(raw []byte) evidence.Claim {
		t.Helper()
		e, err := evidence.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		c, err := evidence.Check(e, root, []digest.Digest{image}, late.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	again := verifytest.Options{At: late, StampAt: late}
	certified := check(s.Restamp(t, ca.Attest(t, evidence.Signer{SAN: "ci@acme.example", SANType: "email"}, st, verifytest.PrivateOptions{}), again))
	if at, _ := certified.Time(); !at.Equal(late) || certified.Begun().IsZero() || !certified.Begun().Before(verifytest.Epoch().Add(time.Minute)) {
		t.Errorf("a private authority's: seen %v, begun %v", at, certified.Begun())
	}
	keyed := check(s.Restamp(t, s.AttestKey(t, key, st, verifytest.Options{}), again))
	if at, _ := keyed.Time(); !at.Equal(late) || !keyed.Begun().IsZero() {
		t.Errorf("a key's: seen %v, begun %v", at, keyed.Begun())
	}
	keyless := check(s.Attest(t, verifytest.GitHub("acme/agent", ".github/workflows/x.yml", "refs/tags/v1", "push"), st, verifytest.Options{}))
	if at, _ := keyless.Time(); keyless.Begun().IsZero() || keyless.Begun().After(at) || at.Sub(keyless.Begun()) > 15*time.Minute {
		t.Errorf("keyless: seen %v, begun %v", at, keyless.Begun())
	}
}
