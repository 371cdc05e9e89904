package evidence_test

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// ids are the IDs of the logs of an instance, in hex: Rekor v1's and v2's.
func ids(t *testing.T, s *verifytest.Sigstore) []string {
	t.Helper()
	var all []string
	for _, log := range decode(t, s.Root())["tlogs"].([]any) {
		raw, err := base64.StdEncoding.DecodeString(log.(object)["logId"].(object)["keyId"].(string))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, hex.EncodeToString(raw))
	}
	return all
}

// TestWitnesses names the logs and authorities that vouch for a signature, and none
// that was passed over.
func TestWitnesses(t *testing.T) {
	s := verifytest.New(t)
	log := ids(t, s)
	st := encode(t, statement())
	key := verifytest.NewKey(t)
	public, err := trust.ParseKey(key.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	root := rootOf(t, s.Root()).With(public)
	epoch := verifytest.Epoch()
	v1, v2 := evidence.Witness{Log: log[0], At: epoch, Source: evidence.TimeLog}, evidence.Witness{Log: log[1], Source: evidence.TimeLog}
	stamped := func(at time.Time) evidence.Witness { return evidence.Witness{At: at, Source: evidence.TimeTSA} }
	cert := func(o verifytest.Options) object { return decode(t, s.Attest(t, workflow, st, o)) }
	keyed := func(o verifytest.Options) object { return decode(t, s.AttestKey(t, key, st, o)) }
	both := verifytest.Options{Log: verifytest.RekorV2, Also: []verifytest.Version{verifytest.RekorV1}}
	for name, c := range map[string]struct {
		bundle object
		want   []evidence.Witness
	}{
		"v1":           {cert(verifytest.Options{}), []evidence.Witness{v1}},
		"v1 and stamp": {cert(verifytest.Options{StampAt: epoch.Add(time.Second)}), []evidence.Witness{v1, stamped(epoch.Add(time.Second))}},
		"v2":           {cert(verifytest.Options{Log: verifytest.RekorV2}), []evidence.Witness{v2, stamped(epoch)}},
		"both":         {cert(both), []evidence.Witness{v2, v1}},
		"key":          {decode(t, key.Attest(t, st)), nil},
		"key v1":       {keyed(verifytest.Options{}), []evidence.Witness{v1}},
		"key both":     {keyed(both), []evidence.Witness{v2, v1}},
	} {
		t.Run(name, func(t *testing.T) {
			claim, err := evidence.Check(parse(t, c.bundle), root, []digest.Digest{image}, now)
			if err != nil {
				t.Fatal(err)
			}
			if got := claim.Witnesses(); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestCertificates names the certificate that signed and the authorities above it.
func TestCertificates(t *testing.T) {
	s := verifytest.New(t)
	b := decode(t, s.Attest(t, workflow, encode(t, statement()), verifytest.Options{}))
	sum := func(o any) digest.Digest {
		raw, err := base64.StdEncoding.DecodeString(o.(object)["rawBytes"].(string))
		if err != nil {
			t.Fatal(err)
		}
		return digest.FromBytes(raw)
	}
	want := []digest.Digest{sum(b["verificationMaterial"].(object)["certificate"])}
	for _, c := range decode(t, s.Root())["certificateAuthorities"].([]any)[0].(object)["certChain"].(object)["certificates"].([]any) {
		want = append(want, sum(c))
	}
	claim, err := evidence.Check(parse(t, b), rootOf(t, s.Root()), []digest.Digest{image}, now)
	if err != nil || len(want) != 3 || !slices.Equal(claim.Certificates(), want) {
		t.Errorf("got %v, want %v: %v", claim.Certificates(), want, err)
	}
	k := newP256(t)
	claim, err = evidence.Check(parse(t, seal(t, k, statement())), trust.Root{}.With(k.key(t)), []digest.Digest{image}, now)
	if err != nil || claim.Certificates() != nil {
		t.Errorf("a key has certificates: %v: %v", claim.Certificates(), err)
	}
}
