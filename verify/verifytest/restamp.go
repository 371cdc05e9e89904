package verifytest

import (
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// Restamp is what a mirror without any key can do to a bundle, which is not signed as
// a whole: the log entries and timestamps are dropped, and the old signature is stamped
// anew at o.StampAt.
func (s *Sigstore) Restamp(t testing.TB, raw []byte, o Options) []byte {
	t.Helper()
	b := new(protobundle.Bundle)
	if err := protojson.Unmarshal(raw, b); err != nil {
		t.Fatal(err)
	}
	b.VerificationMaterial.TlogEntries = nil
	b.VerificationMaterial.TimestampVerificationData = s.stamp(t, b.GetDsseEnvelope().GetSignatures()[0].GetSig(), o.filled())
	return write(t, b)
}
