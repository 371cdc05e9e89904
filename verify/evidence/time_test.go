package evidence_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// The certificate had expired, or was not valid yet, when the log or the
// timestamp authority saw the signature.
func TestN07LeafExpired(t *testing.T) {
	x := newStage(t)
	try(t, map[string]trial{
		"v1":                   {x.attest(t, options{IssuedAt: epoch.Add(-time.Hour)}), x.root, reason.CertificateExpired},
		"early":                {x.attest(t, options{IssuedAt: epoch.Add(time.Minute)}), x.root, reason.CertificateExpired},
		"v2":                   {x.attest(t, options{Log: verifytest.RekorV2, IssuedAt: epoch.Add(-time.Hour)}), x.root, reason.CertificateExpired},
		"one-of-two-witnesses": {x.attest(t, options{StampAt: epoch.Add(30 * time.Minute)}), x.root, reason.CertificateExpired},
	})
}

// The certificate of the issuing authority had expired, or the root did not trust
// the authority then, though the leaf was valid.
func TestN08IssuerExpired(t *testing.T) {
	x := newStage(t)
	expired := verifytest.NewWith(t, verifytest.Config{IssuerUntil: epoch.Add(-time.Hour)})
	try(t, map[string]trial{
		"issuer": {expired.Attest(t, workflow, x.st, options{}), rootOf(t, expired.Root()), reason.CertificateAuthorityExpired},
		"window": {x.attest(t, options{}), x.edited(t, window("certificateAuthorities", "end", -time.Hour)), reason.CertificateAuthorityExpired},
		"early":  {x.attest(t, options{}), x.edited(t, window("certificateAuthorities", "start", time.Hour)), reason.CertificateAuthorityExpired},
	})
}

// A key signs outside of its window: at the logged or stamped time where there is
// one, else now. A time that a stranger's log vouches for does not count.
func TestN09KeyOutsideItsWindow(t *testing.T) {
	x := newStage(t)
	const h = time.Hour
	only := func(from, until time.Duration) trust.Root {
		return trust.Root{}.With(x.key.Within(epoch.Add(from), epoch.Add(until)))
	}
	plain := x.k.Attest(t, x.st)
	foreign := rootOf(t, x.stranger.Root())
	try(t, map[string]trial{
		"inside":       {plain, only(-h, 2*h), ""},
		"over":         {plain, only(-2*h, -h), reason.KeyOutsideWindow},
		"not-yet":      {plain, only(2*h, 3*h), reason.KeyOutsideWindow},
		"logged":       {x.keyed(t, options{}), x.within(-h, h/2), ""},
		"stamped":      {x.keyed(t, v2), x.within(-h, h/2), ""},
		"log-is-later": {x.keyed(t, options{}), x.within(h/2, 9*h), reason.KeyOutsideWindow},
		"log-is-early": {x.keyed(t, options{}), x.within(-9*h, -h/2), reason.KeyOutsideWindow},
		"stamp":        {x.keyed(t, v2), x.within(h/2, 9*h), reason.KeyOutsideWindow},
		"unlogged":     {x.keyed(t, options{}), only(-h, h/2), reason.KeyOutsideWindow},
		"unknown-log":  {x.keyed(t, options{}), foreign.With(x.key.Within(epoch.Add(-h), epoch.Add(h/2))), reason.KeyOutsideWindow},
	})
}

// A timestamp token carries a certificate of the authority first in its bag, and
// was signed by somebody else; or it is of an unknown authority, or over other
// bytes.
func TestN10ForgedTimestamp(t *testing.T) {
	x := newStage(t)
	stamped := func(o options) object { o.Log = verifytest.RekorV2; return x.attest(t, o) }
	try(t, map[string]trial{
		"shadowed": {stamped(options{Stamp: verifytest.StampShadowed}), x.root, reason.TimestampInvalid},
		"forged":   {stamped(options{Stamp: verifytest.StampForged}), x.root, reason.TimestampInvalid},
		"unknown":  {stamped(options{StampedBy: x.stranger}), x.root, reason.TimestampInvalid},
		"payload":  {stamped(options{StampBytes: []byte("another signature")}), x.root, reason.TimestampInvalid},
	})
}

// An entry of Rekor v2 has no time of its own, and the bundle has no timestamp.
func TestN11EntryWithoutTimestamp(t *testing.T) {
	x := newStage(t)
	try(t, map[string]trial{
		"none": {x.attest(t, options{Log: verifytest.RekorV2, Stamp: verifytest.StampNone}), x.root, reason.TimestampAbsent},
	})
	// A key needs no time; it gets none.
	e := parse(t, x.keyed(t, options{Log: verifytest.RekorV2, Stamp: verifytest.StampNone}))
	c, err := evidence.Check(e, x.keys, []digest.Digest{image}, epoch.Add(time.Hour))
	if at, source := c.Time(); err != nil || !at.IsZero() || source != evidence.TimeNone {
		t.Errorf("%v from %v: %v", at, source, err)
	}
}

// The timestamp, or the log's promise, is outside of the window in which the root
// trusts who gave it. (A root without the start of a window is refused by package
// trust.)
func TestN12OutsideTheRootsWindow(t *testing.T) {
	x := newStage(t)
	const h = time.Hour
	try(t, map[string]trial{
		"stamp":       {x.attest(t, v2), x.edited(t, window("timestampAuthorities", "end", -h)), reason.TimestampInvalid},
		"stamp-early": {x.attest(t, v2), x.edited(t, window("timestampAuthorities", "start", h)), reason.TimestampInvalid},
		"log":         {x.attest(t, options{}), x.edited(t, window("tlogs", "end", -h)), reason.LogPromiseInvalid},
		"log-early":   {x.attest(t, options{}), x.edited(t, window("tlogs", "start", h)), reason.LogPromiseInvalid},
	})
}
