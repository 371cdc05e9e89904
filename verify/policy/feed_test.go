package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// feedText is a deny feed with one more member.
func feedText(member string) string {
	text := `{"schema": "ztlaunch.deny/v1", "serial": 7, "issued": "2026-06-01T00:00:00Z", "until": "2026-07-01T00:00:00Z"`
	if member != "" {
		text += ", " + member
	}
	return text + "}"
}

// TestParseFeed reads good and bad feeds.
func TestParseFeed(t *testing.T) {
	h := strings.Repeat("0a", 32)
	entry := func(list, entry string) string { return feedText(fmt.Sprintf("%q: [%s]", list, entry)) }
	why := `"reason": "a backdoor"`
	change := func(old, now string) string {
		if strings.Count(feedText(""), old) != 1 {
			t.Fatalf("%q is not there once", old)
		}
		return strings.Replace(feedText(""), old, now, 1)
	}
	for name, raw := range map[string]string{
		"ok-empty":       feedText(""),
		"ok-serial":      change(`: 7,`, `: 9007199254740991,`),
		"ok-digest":      entry("digests", `{"digest": "sha256:`+h+`", `+why+`}`),
		"ok-no-digests":  feedText(`"digests": []`),
		"ok-key":         entry("signers", `{"key": "sha256:`+h+`", `+why+`}`),
		"ok-key-since":   entry("signers", `{"key": "sha256:`+h+`", "since": "2026-05-01T00:00:00+02:00", `+why+`}`),
		"ok-authority":   entry("signers", `{"authority": "sha256:`+h+`", "san": "b", `+why+`}`),
		"ok-san":         entry("signers", `{"issuer": "https://a", "san": "b", `+why+`}`),
		"ok-certificate": entry("certificates", `{"sha256": "`+h+`", `+why+`}`),
		"ok-log":         entry("logs", `{"id": "`+h+`", "since": "2026-05-01T00:00:00Z", `+why+`}`),

		"nothing":            "",
		"not-json":           "deny: []",
		"not-utf8":           entry("logs", `{"id": "`+h+`", "reason": "`+"\xff"+`"}`),
		"list":               "[]",
		"trailing":           feedText("") + "{}",
		"duplicate":          feedText(`"serial": 8`),
		"variant":            feedText(`"Serial": 8`),
		"unknown":            feedText(`"images": []`),
		"unknown-in-entry":   entry("digests", `{"digest": "sha256:`+h+`", "note": "x", `+why+`}`),
		"duplicate-in-entry": entry("digests", `{"digest": "sha256:`+h+`", "reason": "x", `+why+`}`),
		"null":               feedText(`"digests": null`),
		"null-since":         entry("logs", `{"id": "`+h+`", "since": null, `+why+`}`),
		"schema":             change("deny/v1", "deny/v2"),
		"serial-zero":        change(`: 7,`, `: 0,`),
		"serial-negative":    change(`: 7,`, `: -1,`),
		"serial-fraction":    change(`: 7,`, `: 7.5,`),
		"serial-text":        change(`: 7,`, `: "7",`),
		"serial-large":       change(`: 7,`, `: 9007199254740992,`),
		"no-until":           change(`, "until": "2026-07-01T00:00:00Z"`, ``),
		"no-issued":          change(`"issued": "2026-06-01T00:00:00Z", `, ``),
		"until-before":       change("2026-07-01", "2026-06-01"),
		"until-day":          change("2026-07-01T00:00:00Z", "2026-07-01"),
		"digest-short":       entry("digests", `{"digest": "sha256:0a", `+why+`}`),
		"digest-bare":        entry("digests", `{"digest": "`+h+`", `+why+`}`),
		"digest-case":        entry("digests", `{"digest": "sha256:`+strings.ToUpper(h)+`", `+why+`}`),
		"digest-sha512":      entry("digests", `{"digest": "sha512:`+h+h+`", `+why+`}`),
		"digest-twice":       entry("digests", `{"digest": "sha256:`+h+`", `+why+`}, {"digest": "sha256:`+h+`", `+why+`}`),
		"no-reason":          entry("digests", `{"digest": "sha256:`+h+`"}`),
		"empty-reason":       entry("digests", `{"digest": "sha256:`+h+`", "reason": ""}`),
		"long-reason":        entry("digests", `{"digest": "sha256:`+h+`", "reason": "`+strings.Repeat("x", 1025)+`"}`),
		"signer-nobody":      entry("signers", `{`+why+`}`),
		"signer-both":        entry("signers", `{"key": "sha256:`+h+`", "issuer": "https://a", "san": "b", `+why+`}`),
		"signer-authority":   entry("signers", `{"authority": "`+h+`", "san": "b", `+why+`}`),
		"signer-no-name":     entry("signers", `{"authority": "sha256:`+h+`", `+why+`}`),
		"signer-two-issuers": entry("signers", `{"authority": "sha256:`+h+`", "issuer": "https://a", "san": "b", `+why+`}`),
		"signer-issuer-only": entry("signers", `{"issuer": "https://a", `+why+`}`),
		"signer-san-only":    entry("signers", `{"san": "b", `+why+`}`),
		"signer-key":         entry("signers", `{"key": "`+h+`", `+why+`}`),
		"signer-key-and-san": entry("signers", `{"key": "x", "issuer": "https://a", "san": "b", `+why+`}`),
		"signer-twice":       entry("signers", `{"key": "sha256:`+h+`", `+why+`}, {"key": "sha256:`+h+`", "since": "2026-05-01T00:00:00Z", `+why+`}`),
		"since-day":          entry("signers", `{"key": "sha256:`+h+`", "since": "2026-05-01", `+why+`}`),
		"certificate":        entry("certificates", `{"sha256": "sha256:`+h+`", `+why+`}`),
		"certificate-twice":  entry("certificates", `{"sha256": "`+h+`", `+why+`}, {"sha256": "`+h+`", `+why+`}`),
		"log":                entry("logs", `{"id": "wNI9atQGlz+VWfO6LRygH4QUfY/8W4RFwiT5i5WRgB0=", `+why+`}`),
		"log-twice":          entry("logs", `{"id": "`+h+`", `+why+`}, {"id": "`+h+`", `+why+`}`),
		"too-large":          feedText("") + strings.Repeat(" ", MaxFeedSize),
	} {
		t.Run(name, func(t *testing.T) {
			feed, err := ParseFeed([]byte(raw), "deny.json")
			if strings.HasPrefix(name, "ok-") {
				if err != nil || feed.Zero() || feed.Digest != digest.FromString(raw) {
					t.Errorf("%+v: %v", feed, err)
				}
				return
			}
			e, ok := reason.Of(err)
			if !ok || e.Code != reason.DenyFeedMalformed || !feed.Zero() || e.Expected == "" || e.Found == "" || e.Next == "" {
				t.Errorf("%+v: %v", feed, err)
			}
		})
	}
}

// TestPolicyFeed believes a feed that somebody signed whom the policy names, over
// exactly these bytes, and no other.
func TestPolicyFeed(t *testing.T) {
	root := trust.Root{}
	for _, who := range cast() {
		root = root.With(who.public)
	}
	p, err := Parse([]byte("identities: {release: {key: keys/release.pub}, security: {key: keys/security.pub}}\n"+image+
		"denyFeed: {file: feeds/deny.json, by: [security], maxAge: 7d}\n"), "/etc/ztlaunch/policy.yaml", keyFile)
	if err != nil || p.DenyFeed() != "/etc/ztlaunch/feeds/deny.json" {
		t.Fatal(p.DenyFeed(), err)
	}
	raw := []byte(feedText(""))
	signed := feedClaim(t, "security", raw, root)
	attested := func(predicateType string) evidence.Claim {
		st := verifytest.Statement(t, predicateType, struct{}{}, digest.FromBytes(raw).Encoded())
		e, err := evidence.Parse(cast()["security"].private.Attest(t, st))
		if err != nil {
			t.Fatal(err)
		}
		c, err := evidence.CheckBlob(e, root, raw, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old, err := cast()["security"].private.Sign2(t, digest.FromBytes(raw), verifytest.Simple(t, digest.FromBytes(raw), nil)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	e, err := evidence.Parse(old)
	if err != nil {
		t.Fatal(err)
	}
	older, err := evidence.CheckBlob(e, root, raw, now)
	if err != nil {
		t.Fatal(err)
	}
	later := []byte(strings.Replace(feedText(""), "2026-06-01T00:00:00Z", "2026-06-01T12:05:01Z", 1))
	soon := []byte(strings.Replace(feedText(""), "2026-06-01T00:00:00Z", "2026-06-01T12:05:00Z", 1))
	broken := []byte(feedText(`"digests": 1`))
	for name, c := range map[string]struct {
		raw    []byte
		signed evidence.Claim
		want   reason.Code
	}{
		"good":           {raw, signed, ""},
		"clock":          {soon, feedClaim(t, "security", soon, root), ""},
		"future":         {later, feedClaim(t, "security", later, root), reason.DenyFeedFuture},
		"no claim":       {raw, evidence.Claim{}, reason.DenyFeedTampered},
		"other bytes":    {[]byte(feedText(`"logs": []`)), signed, reason.DenyFeedTampered},
		"by another":     {raw, feedClaim(t, "release", raw, root), reason.DenyFeedWrongIdentity},
		"an attestation": {raw, attested(evidence.PredicateSPDX), reason.DenyFeedUnsigned},
		"an image":       {raw, attested(evidence.PredicateCosignSign), reason.DenyFeedUnsigned},
		"an older image": {raw, older, reason.DenyFeedUnsigned},
		"malformed":      {broken, feedClaim(t, "security", broken, root), reason.DenyFeedMalformed},
	} {
		feed, err := p.Feed(c.raw, c.signed, now)
		if c.want == "" {
			if err != nil || feed.Serial != 7 || feed.Signer.Key != cast()["security"].public.ID() || !feed.Until.Equal(feed.Issued.Add(7*24*time.Hour)) {
				t.Errorf("%s: %+v: %v", name, feed, err)
			}
			continue
		}
		if e, ok := reason.Of(err); !ok || e.Code != c.want || !feed.Zero() {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if feed, err := (Policy{}).Feed(raw, signed, now); err == nil || !feed.Zero() {
		t.Error("a policy without a feed believes one")
	}
}

// leafSum is the digest of the certificate in a bundle.
func leafSum(t *testing.T, bundle []byte) string {
	t.Helper()
	var b struct {
		VerificationMaterial struct{ Certificate struct{ RawBytes []byte } }
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.VerificationMaterial.Certificate.RawBytes)
	return hex.EncodeToString(sum[:])
}

// authorities are the digests of an instance's certificates, lowest first, and the
// IDs of its logs.
func authorities(t *testing.T, s *verifytest.Sigstore) (certificates, logs []string) {
	t.Helper()
	var r struct {
		Tlogs []struct {
			LogID struct{ KeyID []byte }
		}
		CertificateAuthorities []struct {
			CertChain struct{ Certificates []struct{ RawBytes []byte } }
		}
	}
	if err := json.Unmarshal(s.Root(), &r); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.CertificateAuthorities[0].CertChain.Certificates {
		sum := sha256.Sum256(c.RawBytes)
		certificates = append(certificates, hex.EncodeToString(sum[:]))
	}
	for _, l := range r.Tlogs {
		logs = append(logs, hex.EncodeToString(l.LogID.KeyID))
	}
	return certificates, logs
}

// TestFeedClaims takes back what a certificate signed: by the signer's name, the
// certificate, an authority above it, and the log.
func TestFeedClaims(t *testing.T) {
	epoch := verifytest.Epoch()
	at := func(d time.Duration) string { return epoch.Add(d).Format(time.RFC3339) }
	stranger := strings.Repeat("0a", 32)
	v1 := verifytest.Options{}
	v1Stamped := verifytest.Options{StampAt: epoch.Add(time.Minute)}
	v2 := verifytest.Options{Log: verifytest.RekorV2}
	both := verifytest.Options{Log: verifytest.RekorV2, Also: []verifytest.Version{verifytest.RekorV1}, StampAt: epoch.Add(time.Minute)}
	untimed := verifytest.Options{Log: verifytest.RekorV2, Also: []verifytest.Version{verifytest.RekorV1}}
	signer := func(issuer, san, since string) string {
		if since != "" {
			since = fmt.Sprintf(`"since": %q, `, since)
		}
		return fmt.Sprintf(`"signers": [{"issuer": %q, "san": %q, %s"reason": "stolen"}]`, issuer, san, since)
	}
	certificate := func(sum string) string {
		return fmt.Sprintf(`"certificates": [{"sha256": %q, "reason": "stolen"}]`, sum)
	}
	log := func(since string, ids ...string) string {
		var all []string
		if since != "" {
			since = fmt.Sprintf(`"since": %q, `, since)
		}
		for _, id := range ids {
			all = append(all, fmt.Sprintf(`{"id": %q, %s"reason": "forked"}`, id, since))
		}
		return `"logs": [` + strings.Join(all, ", ") + `]`
	}
	for _, c := range []struct {
		name    string
		options verifytest.Options
		entry   func(leaf string, certificates, logs []string) string
		want    reason.Code
	}{
		{"nobody", v1, func(string, []string, []string) string { return `"signers": []` }, ""},
		{"signer", v1, func(string, []string, []string) string { return signer(release.Issuer, release.SAN, "") }, reason.SignerDenied},
		{"signer of another issuer", v1, func(string, []string, []string) string { return signer("https://elsewhere.example", release.SAN, "") }, ""},
		{"signer of a longer name", v1, func(string, []string, []string) string { return signer(release.Issuer, release.SAN+"2", "") }, ""},
		{"signer of any tag", v1, func(string, []string, []string) string {
			return signer(release.Issuer, "https://github.com/acme/agent/*@*", "")
		}, reason.SignerDenied},
		{"signer of any tag of another", v1, func(string, []string, []string) string {
			return signer(release.Issuer, "https://github.com/acme/agent2/*@*", "")
		}, ""},
		{"signer, signed before", v1, func(string, []string, []string) string { return signer(release.Issuer, release.SAN, at(time.Second)) }, ""},
		{"signer, signed then", v1, func(string, []string, []string) string { return signer(release.Issuer, release.SAN, at(0)) }, reason.SignerDenied},
		{"signer, signed after", v1, func(string, []string, []string) string { return signer(release.Issuer, release.SAN, at(-time.Second)) }, reason.SignerDenied},
		{"signer, dated by a denied log alone", both, func(_ string, _, logs []string) string {
			return signer(release.Issuer, release.SAN, at(time.Second)) + ", " + log("", logs[0])
		}, reason.SignerDenied},
		{"leaf", v1, func(leaf string, _, _ []string) string { return certificate(leaf) }, reason.CertificateDenied},
		{"another leaf", v1, func(string, []string, []string) string { return certificate(stranger) }, ""},
		{"issuer", v1, func(_ string, certificates, _ []string) string { return certificate(certificates[0]) }, reason.CertificateDenied},
		{"root", v1, func(_ string, certificates, _ []string) string { return certificate(certificates[1]) }, reason.CertificateDenied},
		{"log", v1, func(_ string, _, logs []string) string { return log("", logs[0]) }, reason.LogDenied},
		{"the other log", v1, func(_ string, _, logs []string) string { return log("", logs[1]) }, ""},
		{"a log nobody knows", v1, func(string, []string, []string) string { return log("", stranger) }, ""},
		{"one log of two", both, func(_ string, _, logs []string) string { return log("", logs[0]) }, ""},
		{"the one log of two that says when", untimed, func(_ string, _, logs []string) string { return log("", logs[0]) }, reason.LogDenied},
		{"the one log of two that does not", untimed, func(_ string, _, logs []string) string { return log("", logs[1]) }, ""},
		{"two logs of two", both, func(_ string, _, logs []string) string { return log("", logs...) }, reason.LogDenied},
		{"log of the second version", v2, func(_ string, _, logs []string) string { return log("", logs[1]) }, reason.LogDenied},
		{"log, before by its own word", v1, func(_ string, _, logs []string) string { return log(at(time.Hour), logs[0]) }, reason.LogDenied},
		{"log, before by an authority", v1Stamped, func(_ string, _, logs []string) string { return log(at(time.Hour), logs[0]) }, ""},
		{"log, after by an authority", v1Stamped, func(_ string, _, logs []string) string { return log(at(time.Second), logs[0]) }, reason.LogDenied},
		{"log of the second version, before", v2, func(_ string, _, logs []string) string { return log(at(time.Second), logs[1]) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			bundle := s.sigstore.Attest(t, release, verifytest.Statement(t, evidence.PredicateCosignSign, struct{}{}, manifestSum.Encoded()), c.options)
			s.add(t, bundle)
			certificates, logs := authorities(t, s.sigstore)
			text := strings.Replace(feedText(c.entry(leafSum(t, bundle), certificates, logs)), "2026-06-01", epoch.Format(time.DateOnly), 1)
			var err error
			if s.in.Feed, err = ParseFeed([]byte(text), "deny.json"); err != nil {
				t.Fatal(err)
			}
			d := s.decide(t, trusted+"images: [{match: registry.example/agents/coder, require: [{signature: {by: [release]}}]}]\n")
			if codes(d) != string(c.want) || d.Allowed() != (c.want == "") {
				t.Errorf("%s, want %q:\n%s", codes(d), c.want, show(d))
			}
			s.in.Feed = Feed{}
			before := s.decide(t, trusted+"images: [{match: registry.example/agents/coder, require: [{signature: {by: [release]}}]}]\n")
			feed, _ := ParseFeed([]byte(text), "deny.json")
			var found reason.Code
			if e, ok := reason.Of(before.Denied(feed, s.in.Now)); ok {
				found = e.Code
			}
			if !before.Allowed() || found != c.want {
				t.Errorf("asked afterwards: %q, want %q", found, c.want)
			}
		})
	}
}

// TestDeniedSigner compares names: exactly, but for stars, which match too much rather
// than too little.
func TestDeniedSigner(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a", "", false},
		{"*", "", true}, {"*", "a/b", true}, {"a*", "a", true}, {"a*", "ab/c", true}, {"a*", "ba", false},
		{"*a", "ba", true}, {"*a", "ab", false}, {"a*b", "ab", true}, {"a*b", "a", false}, {"ab*b", "ab", false},
		{"a*b*c", "a1b2c", true}, {"a*b*c", "a1c2b", false}, {"a*b*b", "ab", false}, {"a**b", "axb", true},
	} {
		d := deniedSigner{issuer: "https://a", san: c.pattern}
		if got := d.is(evidence.Signer{Issuer: "https://a", SAN: c.name}); got != c.want {
			t.Errorf("%q is %q: %v", c.pattern, c.name, got)
		}
		if d.is(evidence.Signer{Issuer: "https://b", SAN: c.name}) || d.is(evidence.Signer{Key: "sha256:x"}) {
			t.Errorf("%q is somebody else", c.pattern)
		}
	}
	if key := (deniedSigner{key: "sha256:x"}); !key.is(evidence.Signer{Key: "sha256:x"}) || key.is(evidence.Signer{Key: "sha256:y"}) || key.is(evidence.Signer{SAN: "*"}) {
		t.Error("a key is another")
	}
}

// TestMinimumAge waits for as long as the rule says after the time that a log or an
// authority proves.
func TestMinimumAge(t *testing.T) {
	const rule = trusted + "images: [{match: registry.example/agents/coder, require: [{signature: {by: [release], minimumAge: 3d%s}}]}]\n"
	epoch := verifytest.Epoch()
	for _, c := range []struct {
		name    string
		options verifytest.Options
		more    string
		age     time.Duration
		want    reason.Code
	}{
		{"too-young", verifytest.Options{}, "", 72*time.Hour - time.Second, reason.ClaimTooYoung},
		{"old enough", verifytest.Options{}, "", 72 * time.Hour, ""},
		{"old enough, not too old", verifytest.Options{}, ", maxAge: 5d", 120*time.Hour - time.Minute, ""},
		{"too old", verifytest.Options{}, ", maxAge: 5d", 120 * time.Hour, reason.ClaimTooOld},
		{"by an authority, too young", verifytest.Options{Log: verifytest.RekorV2, StampAt: epoch.Add(time.Minute)}, "", 72 * time.Hour, reason.ClaimTooYoung},
		{"by an authority", verifytest.Options{Log: verifytest.RekorV2, StampAt: epoch.Add(time.Minute)}, "", 72*time.Hour + time.Minute, ""},
		{"signed in the future", verifytest.Options{}, "", -time.Minute, reason.ClaimTooYoung},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.in.Now = epoch.Add(c.age)
			s.add(t, s.sigstore.Attest(t, release, verifytest.Statement(t, evidence.PredicateCosignSign, struct{}{}, manifestSum.Encoded()), c.options))
			d := s.decide(t, fmt.Sprintf(rule, c.more))
			if codes(d) != string(c.want) || d.Allowed() != (c.want == "") {
				t.Fatalf("%s, want %q:\n%s", codes(d), c.want, show(d))
			}
			if c.want == reason.ClaimTooYoung {
				passes := epoch.Add(72 * time.Hour)
				if !c.options.StampAt.IsZero() {
					passes = passes.Add(time.Minute)
				}
				if next := d.Findings()[0].Next; d.Exit() != 1 || !strings.Contains(next, stamp(passes)) {
					t.Errorf("exit %d, next %q", d.Exit(), next)
				}
			}
		})
	}
	for text, want := range map[string]bool{
		image: false,
		"images: [{match: registry.example/a, require: [{signature: {by: [release], minimumAge: 3d}}]}]\n":                                true,
		"images: [{match: registry.example/a, require: [{sbom: {by: [release], maxAge: 3d, covers: all}}]}]\n":                            false,
		"images: [{match: registry.example/a, require: [{vulnerabilities: {by: [release], maxAge: 3d, deny: [critical]}}]}]\n":            false,
		"images: [{match: registry.example/a, require: [{vulnerabilities: {by: [release], maxAge: 3d, minimumAge: 1d, deny: [low]}}]}]\n": true,
	} {
		p, err := Parse([]byte(ids+text), "p", keyFile)
		if err != nil || p.Keyless() != want {
			t.Errorf("%s needs a Sigstore root: %v, %v", text, p.Keyless(), err)
		}
	}
}

// TestFloorRef takes the version from the tag that was built, as provenance says it
// where the rule demands any, else the signature's certificate.
func TestFloorRef(t *testing.T) {
	const signed = "{signature: {by: [release]}}"
	const built = "{provenance: {by: [release], builder: github-hosted}}"
	at := func(ref string) evidence.Signer {
		return verifytest.GitHub("acme/agent", flow, ref, "push")
	}
	any := strings.NewReplacer("refs/tags/v*", "refs/tags/*")
	for _, c := range []struct {
		name, demands string
		signs, builds []evidence.Signer
		want          reason.Code
	}{
		{"certificate", signed, []evidence.Signer{at("refs/tags/v1.4.0")}, nil, ""},
		{"certificate below", signed, []evidence.Signer{at("refs/tags/v1.3.9")}, nil, reason.VersionBelowFloor},
		{"certificate without v", signed, []evidence.Signer{at("refs/tags/1.10.0")}, nil, ""},
		{"certificate, no version", signed, []evidence.Signer{at("refs/tags/vnext")}, nil, reason.VersionMalformed},
		{"provenance", signed + ", " + built, []evidence.Signer{at("refs/tags/v1.4.1")}, []evidence.Signer{at("refs/tags/v1.4.1")}, ""},
		{"provenance decides", signed + ", " + built, []evidence.Signer{at("refs/tags/v9.0.0")}, []evidence.Signer{at("refs/tags/v1.3.0")}, reason.VersionBelowFloor},
		{"signature aside", signed + ", " + built, []evidence.Signer{at("refs/tags/v0.1.0")}, []evidence.Signer{at("refs/tags/v1.4.0")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			for _, who := range c.signs {
				s.sign(t, who, evidence.PredicateCosignSign, struct{}{})
			}
			for _, who := range c.builds {
				s.sign(t, who, evidence.PredicateSLSAProvenanceV1, attested(who))
			}
			d := s.decide(t, any.Replace(trusted)+"images: [{match: registry.example/agents/coder, minimum: {version: 1.4.0, of: ref}, require: ["+c.demands+"]}]\n")
			if codes(d) != string(c.want) || d.Allowed() != (c.want == "") {
				t.Errorf("%s, want %q:\n%s", codes(d), c.want, show(d))
			}
		})
	}
	branch := newStage(t)
	branch.sign(t, at("refs/heads/main"), evidence.PredicateCosignSign, struct{}{})
	d := branch.decide(t, strings.Replace(trusted, "refs/tags/v*", "refs/heads/*", 1)+
		"images: [{match: registry.example/agents/coder, minimum: {version: 1.4.0, of: ref}, require: ["+signed+"]}]\n")
	if codes(d) != string(reason.VersionMalformed) {
		t.Errorf("a branch: %s", show(d))
	}
}

// FuzzParseFeed: any bytes end in a feed or in one refusal, and what is accepted is
// whole. A feed is never written again: its signature is over the file's bytes.
func FuzzParseFeed(f *testing.F) {
	h := strings.Repeat("0a", 32)
	f.Add([]byte(feedText("")))
	f.Add([]byte(feedText(`"digests": [{"digest": "sha256:` + h + `", "reason": "x"}], "signers": [{"key": "sha256:` + h + `", "reason": "x"}, {"issuer": "https://a", "san": "b", "since": "2026-05-01T00:00:00Z", "reason": "x"}]`)))
	f.Add([]byte(feedText(`"certificates": [{"sha256": "` + h + `", "reason": "x"}], "logs": [{"id": "` + h + `", "reason": "x"}]`)))
	s := loadScene(f, "testdata/evaluate/ok-signature.txtar")
	f.Fuzz(func(t *testing.T, raw []byte) {
		feed, err := ParseFeed(raw, "deny.json")
		if err != nil {
			if e, ok := reason.Of(err); !ok || e.Code != reason.DenyFeedMalformed || !feed.Zero() {
				t.Fatalf("%+v: %v", feed, err)
			}
			return
		}
		if feed.Zero() || feed.Digest != digest.FromBytes(raw) || !feed.Until.After(feed.Issued) || !json.Valid(raw) {
			t.Fatalf("%+v", feed)
		}
		in := s.in
		in.Feed = feed
		if d := Evaluate(s.policy, in); d.Allowed() && now.After(feed.Until) {
			t.Fatalf("allowed by a stale feed: %s", raw)
		}
		if again, err := ParseFeed(append([]byte(" "), raw...), "deny.json"); len(raw) < MaxFeedSize && (err != nil || again.Serial != feed.Serial || len(again.Denied) != len(feed.Denied)) {
			t.Fatalf("%+v, then %+v: %v", feed, again, err)
		}
	})
}

// TestFeedInFile keeps a denyFeed where it stands when a rule is added to the policy.
func TestFeedInFile(t *testing.T) {
	raw, err := os.ReadFile("testdata/evaluate/denied-adopted.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(raw), "-- policy.yaml --\n")
	text, _, _ = strings.Cut(text, "-- deny.json --")
	text = expand(t, text, nil)
	a := Adoption{Name: "registry.example/agents/other", Digest: otherSum, Key: cast()["security"].public}
	s := loadScene(t, "testdata/evaluate/ok-signature.txtar")
	a.Kind = s.in.Artifact.Kind()
	out, err := Adopt([]byte(text), "policy.yaml", keyFile, a)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(out, "policy.yaml", keyFile)
	if err != nil || p.DenyFeed() != "deny.json" {
		t.Errorf("%q %v", p.DenyFeed(), err)
	}
}
