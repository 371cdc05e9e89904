package policy

import (
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// subject is a certificate's issuer, kind of name and name, and whether the
// identity above it is theirs. No issuer is the accounts of these tests; "private"
// and "stranger" are private authorities.
type subject struct {
	issuer, kind, san string
	want              bool
}

// TestIdentityTable decides about certificates by issuer and name alone: exact
// names, patterns, expressions and private authorities, against look-alikes.
func TestIdentityTable(t *testing.T) {
	const (
		accounts = "https://accounts.example"
		own      = "issuer: " + accounts + ", "
		hub      = "issuer: " + github + ", "
		file     = "https://github.com/acme/agent/.github/workflows/"
	)
	private, stranger := verifytest.NewPrivate(t, verifytest.PrivateConfig{}), verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	ids := map[string]string{}
	for name, raw := range map[string][]byte{"private": private.PEM(), "stranger": stranger.PEM()} {
		a, err := trust.ParseAuthority(raw)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = a.IDs()[0]
	}
	authority := scalar(string(private.PEM()))
	n := 0
	for fields, rows := range map[string][]subject{
		"keyless: {" + own + "san: dev@acme.example}": {
			{"", "email", "dev@acme.example", true},
			{"", "uri", "dev@acme.example", false},
			{"", "other", "dev@acme.example", false},
			{"", "dns", "dev@acme.example", false},
			{"https://accounts.example.evil", "email", "dev@acme.example", false},
			{"https://accounts.example/", "email", "dev@acme.example", false},
			{"http://accounts.example", "email", "dev@acme.example", false},
			{"https://ACCOUNTS.example", "email", "dev@acme.example", false},
			{"https://accounts.example ", "email", "dev@acme.example", false},
			{"private", "email", "dev@acme.example", false},
			{"", "email", "dev@acme.example.evil", false},
			{"", "email", "dev@acme.example.", false},
			{"", "email", "xdev@acme.example", false},
			{"", "email", "Dev@acme.example", false},
			{"", "email", "dev@ACME.example", false},
			{"", "email", "dev@acmeXexample", false},
			{"", "email", "dev@acme.example\n", false},
			{"", "email", " dev@acme.example", false},
			{"", "email", "dеv@acme.example", false}, // Cyrillic
			{"", "email", "dev+x@acme.example", false},
			{"", "email", "dev@evil.example,dev@acme.example", false},
			{"", "email", "dev%40acme.example", false},
		},
		"keyless: {" + own + "san: \"*@acme.example\"}": {
			{"", "email", "dev@acme.example", true},
			{"", "email", "dev+ci@acme.example", true},
			{"", "email", "@acme.example", true}, // "*" may stand for nothing
			{"", "uri", "dev@acme.example", false},
			{"private", "email", "dev@acme.example", false},
			{"https://accounts.evil", "email", "dev@acme.example", false},
			{"", "email", "dev@evil.example@acme.example", false},
			{"", "email", "\"dev@evil.example\"@acme.example", false},
			{"", "email", "\"x\"@acme.example", false},
			{"", "email", "dev@acme.example.evil", false},
			{"", "email", "dev@xacme.example", false},
			{"", "email", "dev@sub.acme.example", false},
			{"", "email", "dev@acme.example.", false},
			{"", "email", "d/x@acme.example", false},
			{"", "email", "d x@acme.example", false},
			{"", "email", "d\x00x@acme.example", false},
			{"", "email", "dеv@acme.example", false}, // Cyrillic
			{"", "email", "dev%0a@acme.example", false},
		},
		"keyless: {" + own + "san: robot, kind: other}": {
			{"", "other", "robot", true},
			{"", "email", "robot", false},
			{"", "other", "robot!acme", false},
			{"", "other", "Robot", false},
		},
		"keyless: {" + own + "san: mailto, kind: uri}": nil, // no URI: refused
		"keyless: {" + own + "san: \"spiffe://acme.example/ns/*/sa/release\"}": {
			{"", "uri", "spiffe://acme.example/ns/prod/sa/release", true},
			{"", "uri", "spiffe://acme.example/ns/prod/evil/sa/release", false},
			{"", "uri", "spiffe://acme.example/ns/prod/sa/release/", false},
			{"", "uri", "spiffe://acme.example/ns/a%2fb/sa/release", false},
			{"", "uri", "spiffe://acme.example/ns/a?b/sa/release", false},
			{"", "uri", "spiffe://acme.example/ns/a#b/sa/release", false},
			{"", "uri", "spiffe://acme.example/ns/a\\b/sa/release", false},
			{"", "uri", "spiffe://acme.example.evil/ns/prod/sa/release", false},
			{"", "uri", "spiffe://evil.example/?spiffe://acme.example/ns/prod/sa/release", false},
			{"", "uri", "SPIFFE://acme.example/ns/prod/sa/release", false},
			{"", "email", "spiffe://acme.example/ns/prod/sa/release", false},
		},
		"keyless: {" + hub + "san: \"" + file + "release.yml@refs/tags/v*\"}": {
			{github, "uri", file + "release.yml@refs/tags/v1", true},
			{github, "uri", file + "release.yml@refs/tags/v1@x", true}, // a tag may hold "@"
			{"", "uri", file + "release.yml@refs/tags/v1", false},
			{github, "email", file + "release.yml@refs/tags/v1", false},
			{github, "uri", file + "release.yml@refs/heads/v1", false},
			{github, "uri", file + "release.yml@refs/tags/v1/evil", false},
			{github, "uri", file + "release.yml@evil.yml@refs/tags/v1", false},
			{github, "uri", file + "a.yml@release.yml@refs/tags/v1", false},
			{github, "uri", file + "release.yml@refs/tags/v1\n", false},
			{github, "uri", "https://github.com/acme-evil/agent/.github/workflows/release.yml@refs/tags/v1", false},
			{github, "uri", "https://github.com/acme/agent-evil/.github/workflows/release.yml@refs/tags/v1", false},
			{github, "uri", "https://evil.example/?" + file + "release.yml@refs/tags/v1", false},
			{github, "uri", "http://github.com/acme/agent/.github/workflows/release.yml@refs/tags/v1", false},
			{github, "uri", "https://github.com./acme/agent/.github/workflows/release.yml@refs/tags/v1", false},
			{github, "uri", "https://GitHub.com/acme/agent/.github/workflows/release.yml@refs/tags/v1", false},
		},
		"keyless: {" + hub + "san: \"https://github.com/acme/*/.github/workflows/*.yml@refs/heads/main\"}": {
			{github, "uri", file + "release.yml@refs/heads/main", true},
			{github, "uri", file + ".yml@refs/heads/main", true},
			{github, "uri", file + "release.yml@refs/heads/main2", false},
			{github, "uri", file + "release.yml@refs/heads/dev", false},
			{github, "uri", file + "a.yml@b.yml@refs/heads/main", false},
			{github, "uri", file + "x/release.yml@refs/heads/main", false},
			{github, "uri", file + "release.yaml@refs/heads/main", false},
			{github, "uri", "https://github.com/acme/a/b/.github/workflows/release.yml@refs/heads/main", false},
			{github, "uri", "https://github.com/acme/%2e%2e/.github/workflows/release.yml@refs/heads/main", false},
			{github, "uri", "https://github.com/evil/agent/.github/workflows/release.yml@refs/heads/main", false},
			{github, "uri", "https://github.com/acme/аgent/.github/workflows/release.yml@refs/heads/main", false}, // Cyrillic
		},
		"keyless: {" + own + "kind: email, unsafeRegex: {san: \"(dev|ops)@acme[.]example\"}}": {
			{"", "email", "dev@acme.example", true},
			{"", "email", "ops@acme.example", true},
			{"", "uri", "ops@acme.example", false},
			{"", "email", "dev@acme.example.evil", false},
			{"", "email", "xdev@acme.example", false},
			{"", "email", "dev@acme.example\nx", false},
			{"", "email", "dev@acme.example\n", false},
			{"", "email", "x\nops@acme.example", false},
			{"", "email", "dev", false},
			{"https://accounts.evil", "email", "dev@acme.example", false},
			{"private", "email", "dev@acme.example", false},
		},
		"keyless: {" + own + "kind: email, unsafeRegex: {san: \"(?m)^dev@acme[.]example$\"}}": {
			{"", "email", "dev@acme.example", true},
			{"", "email", "x\ndev@acme.example", false},
			{"", "email", "dev@acme.example\nx", false},
		},
		"certificate: {authority: " + authority + ", san: \"*@acme.example\"}": {
			{"private", "email", "dev@acme.example", true},
			{"stranger", "email", "dev@acme.example", false},
			{"", "email", "dev@acme.example", false},
			{"private", "uri", "dev@acme.example", false},
			{"private", "dns", "dev@acme.example", false},
			{"private", "email", "dev@acme.example.evil", false},
			{"private", "email", "dev@evil.example@acme.example", false},
		},
		"certificate: {authority: " + authority + ", kind: dns, san: \"*.ci.acme.example\"}": {
			{"private", "dns", "a.ci.acme.example", true},
			{"private", "dns", "a.b.ci.acme.example", false},
			{"private", "dns", "ci.acme.example", false},
			{"private", "dns", "a.ci.acme.example.evil", false},
			{"private", "dns", "a.ci.acme.example.", false},
			{"private", "dns", "a.CI.acme.example", false},
			{"private", "other", "a.ci.acme.example", false},
			{"stranger", "dns", "a.ci.acme.example", false},
		},
		"certificate: {authority: " + authority + ", san: spiffe://acme.example/ci}": {
			{"private", "uri", "spiffe://acme.example/ci", true},
			{"private", "uri", "spiffe://acme.example/ci/", false},
			{"private", "uri", "spiffe://acme.example/CI", false},
			{"", "uri", "spiffe://acme.example/ci", false},
		},
	} {
		p, err := Parse([]byte("identities: {release: {"+fields+"}}\n"+image), "p", nil)
		if rows == nil {
			if !coded(err, reason.PolicyPattern) {
				t.Errorf("%s: %v, want %s", fields, err, reason.PolicyPattern)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		id := p.Identities()[0]
		yes := 0
		for _, c := range rows {
			n++
			s := evidence.Signer{SAN: c.san, SANType: c.kind, Authority: ids[c.issuer]}
			if s.Authority == "" {
				s.Issuer = c.issuer
			}
			if c.issuer == "" {
				s.Issuer = accounts
			}
			got := len(id.Differences(s)) == 0
			if got != c.want {
				t.Errorf("%.120s against %q (%s) of %q = %v", fields, c.san, c.kind, c.issuer, got)
			}
			if got {
				yes++
				s.Key = "sha256:00"
				if len(id.Differences(s)) == 0 {
					t.Errorf("%.120s is a key too", fields)
				}
			}
		}
		if yes == 0 || yes == len(rows) {
			t.Errorf("%.120s: %d of %d accepted, so nothing is told apart", fields, yes, len(rows))
		}
	}
	if n < 110 {
		t.Fatalf("%d certificates, at least 110 expected", n)
	}
}
