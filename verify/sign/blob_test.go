package sign_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/sign"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// TestBlob signs a file's bytes: proved for those bytes, for no others, and never
// for an image.
func TestBlob(t *testing.T) {
	k, public := newKey(t)
	root := trust.Root{}.With(public)
	for _, blob := range []string{"", "a file", "{}"} {
		raw, err := sign.Blob(k, []byte(blob))
		if err != nil {
			t.Fatal(err)
		}
		e, err := evidence.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		c, err := evidence.CheckBlob(e, root, []byte(blob), time.Unix(0, 0))
		if err != nil || c.Signer().Key != public.ID() || c.Subject() != digest.FromString(blob) || c.StatementType() != "" {
			t.Errorf("%q: %v by %s", blob, err, c.Signer())
		}
		if _, err := evidence.CheckBlob(e, root, []byte(blob+"x"), time.Unix(0, 0)); codeOf(err) != reason.SubjectMismatch {
			t.Errorf("%q: other bytes: %v", blob, err)
		}
		if _, err := evidence.Check(e, root, []digest.Digest{digest.FromString(blob)}, time.Unix(0, 0)); codeOf(err) != reason.EnvelopeNotDSSE {
			t.Errorf("%q: as an image: %v", blob, err)
		}
	}
	if _, err := sign.Blob(sign.Key{}, nil); err == nil {
		t.Error("no key signs")
	}
}

func codeOf(err error) reason.Code {
	if e, ok := reason.Of(err); ok {
		return e.Code
	}
	return ""
}
