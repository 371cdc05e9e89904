package evidence_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestN41KeysInBundle: bundles bring what would prove them: the chain up to the
// stranger's own root, in the form of each bundle version that has a place for one.
// Nothing of it is believed.
func TestN41KeysInBundle(t *testing.T) {
	s, stranger := verifytest.New(t), verifytest.New(t)
	ours, theirs := decode(t, s.Root()), decode(t, stranger.Root())
	// Only who issues certificates is ours; the stranger's logs are believed.
	theirs["certificateAuthorities"] = ours["certificateAuthorities"]
	root := rootOf(t, encode(t, theirs))
	authority := decode(t, stranger.Root())["certificateAuthorities"].([]any)[0].(object)
	chain := authority["certChain"].(object)["certificates"].([]any)
	for _, mediaType := range []string{"application/vnd.dev.sigstore.bundle+json;version=0.1",
		"application/vnd.dev.sigstore.bundle+json;version=0.2", evidence.MediaType} {
		b := decode(t, stranger.Attest(t, workflow, encode(t, statement()), verifytest.Options{}))
		m := b["verificationMaterial"].(object)
		if mediaType != evidence.MediaType {
			m["x509CertificateChain"] = object{"certificates": append([]any{m["certificate"]}, chain...)}
			delete(m, "certificate")
		}
		b["mediaType"] = mediaType
		e, err := evidence.Parse(encode(t, b))
		var claim evidence.Claim
		if err == nil {
			claim, err = evidence.Check(e, root, []digest.Digest{image}, verifytest.Epoch().Add(time.Hour))
		}
		refused(t, claim, err, reason.CertificateUntrusted)
	}
}
