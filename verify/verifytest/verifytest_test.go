package verifytest_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

func TestAttest(t *testing.T) {
	s := verifytest.New(t)
	root, err := trust.FromJSON(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	image := digest.FromString("image")
	st := verifytest.Statement(t, "https://example.com/p", map[string]any{"a": 1}, image.Encoded())
	who := map[string]evidence.Signer{
		"github": verifytest.GitHub("acme/agent", ".github/workflows/release.yml", "refs/tags/v1", "push"),
		"email":  verifytest.Email("a@example.com", "https://issuer.example"),
		"other":  {Issuer: "https://issuer.example", SAN: "name!example", SANType: "other"},
		// url.URL would write these bytes differently.
		"uri": {Issuer: "https://issuer.example", SAN: "https://EXAMPLE.com/%7ea?", SANType: "uri"},
	}
	for name, signer := range who {
		for version, source := range map[verifytest.Version]evidence.TimeSource{verifytest.RekorV1: evidence.TimeLog, verifytest.RekorV2: evidence.TimeTSA} {
			t.Run(name+" "+source.String(), func(t *testing.T) {
				e, err := evidence.Parse(s.Attest(t, signer, st, verifytest.Options{Log: version}))
				if err != nil {
					t.Fatal(err)
				}
				c, err := evidence.Check(e, root, []digest.Digest{image}, verifytest.Epoch().Add(time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				if c.Signer() != signer || e.Preview().Signer != signer {
					t.Errorf("signed by %+v, want %+v", c.Signer(), signer)
				}
				if at, from := c.Time(); !at.Equal(verifytest.Epoch()) || from != source || !c.Logged() {
					t.Errorf("at %v from %v, logged %v", at, from, c.Logged())
				}
			})
		}
	}
}

func TestKey(t *testing.T) {
	k := verifytest.NewKey(t)
	key, err := trust.ParseKey(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	image := digest.FromString("image")
	e, err := evidence.Parse(k.Attest(t, verifytest.Statement(t, "https://example.com/p", nil, image.Encoded())))
	if err != nil {
		t.Fatal(err)
	}
	c, err := evidence.Check(e, trust.Root{}.With(key), []digest.Digest{image}, verifytest.Epoch())
	if err != nil || c.Signer().Key != key.ID() {
		t.Errorf("signed by %v: %v", c.Signer(), err)
	}
}
