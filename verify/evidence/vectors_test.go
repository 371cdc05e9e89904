package evidence_test

import (
	"crypto"
	"crypto/elliptic"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// read is a file of a case, or other where the case has none.
func read(t *testing.T, path string, other func() []byte) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && other != nil {
		return other()
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestSigstoreVectors runs the cases of sigstore-conformance's bundle
// verification through Parse and CheckBlob. Every verdict must agree; the
// reason of each refusal is ours.
func TestSigstoreVectors(t *testing.T) {
	dir := verifytest.Vectors(t, "sigstore-bundle-verify")
	if dir == "" {
		return
	}
	cases, err := filepath.Glob(filepath.Join(dir, "*", "bundle.sigstore.json"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("vectors: %d cases, %v", len(cases), err)
	}
	publicGood := read(t, filepath.Join(dir, "..", "sigstore-root", "trusted_root.json"), nil)
	for _, path := range cases {
		folder := filepath.Dir(path)
		name := filepath.Base(folder)
		t.Run(name, func(t *testing.T) {
			text := func(file, other string) string {
				return strings.TrimSpace(string(read(t, filepath.Join(folder, file), func() []byte { return []byte(other) })))
			}
			artifact := read(t, filepath.Join(folder, "artifact"), func() []byte { return read(t, filepath.Join(dir, "a.txt"), nil) })
			want := evidence.Signer{
				SAN: text("identity", "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"+
					".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"),
				Issuer: text("issuer", "https://token.actions.githubusercontent.com"),
			}
			claim, err := func() (evidence.Claim, error) {
				root, err := trust.FromJSON(read(t, filepath.Join(folder, "trusted_root.json"), func() []byte { return publicGood }))
				if err != nil {
					return evidence.Claim{}, err
				}
				if raw := text("key.pub", ""); raw != "" {
					key, err := trust.ParseKey([]byte(raw))
					if err != nil {
						return evidence.Claim{}, err
					}
					root, want = root.With(key), evidence.Signer{Key: key.ID()}
				}
				e, err := evidence.Parse(read(t, path, nil))
				if err != nil {
					return evidence.Claim{}, err
				}
				return evidence.CheckBlob(e, root, artifact, now)
			}()
			got := claim.Signer()
			right := err == nil && got.Key == want.Key && got.SAN == want.SAN && got.Issuer == want.Issuer
			if bad := strings.HasSuffix(name, "_fail"); bad == right {
				t.Fatalf("signed by %v, want %v: %v", got, want, err)
			}
			if err == nil {
				at, source := claim.Time()
				if want.Key == "" && (at.IsZero() || source == evidence.TimeNone || !claim.Logged()) {
					t.Error("proved without a time or a log")
				}
				return
			}
			if r := because[name]; code(err) != r {
				t.Errorf("%v, want %q", err, r)
			}
		})
	}
}

// because is why each bad vector is refused. A stage that comes later may be
// broken too; the first that fails is named.
var because = map[string]reason.Code{
	"bundle-empty-certificate-chain_fail":                       reason.EnvelopeCertificate,
	"bundle-from-wrong-instance_fail":                           reason.LogUnknown,
	"bundle-invalid-base64-signature_fail":                      reason.EnvelopeMalformed,
	"bundle-malformed-json_fail":                                reason.EnvelopeMalformed,
	"bundle-negative-log-index_fail":                            reason.LogEntryMalformed,
	"bundle-unknown-version_fail":                               reason.EnvelopeUnknownVersion,
	"bundle-with-root-cert_fail":                                reason.LogEntryMalformed,
	"checkpoint-bad-keyhint_fail":                               reason.LogCheckpointInvalid,
	"checkpoint-wrong-roothash_fail":                            reason.LogCheckpointInvalid,
	"dsse-invalid-sig_fail":                                     reason.LogMismatch,
	"dsse-mismatch-envelope_fail":                               reason.LogMismatch,
	"dsse-mismatch-sig_fail":                                    reason.LogMismatch,
	"inclusion-proof-corrupted-hash_fail":                       reason.LogProofInvalid,
	"incorrect-public-key_fail":                                 reason.LogEntryMalformed,
	"integrated-time-in-future_fail":                            reason.CertificateExpired,
	"intoto-expired-certificate_fail":                           reason.CertificateExpired,
	"intoto-log-entry-mismatch_fail":                            reason.LogEntryMalformed,
	"intoto-missing-inclusion-proof_fail":                       reason.LogProofAbsent,
	"intoto-set-outside-signing-cert-validity_fail":             reason.CertificateExpired,
	"intoto-tsa-timestamp-outside-cert-validity_fail":           reason.CertificateExpired,
	"invalid-checkpoint-signature_fail":                         reason.LogCheckpointInvalid,
	"invalid-ct-key_fail":                                       reason.SCTInvalid,
	"invalid-inclusion-proof_fail":                              reason.LogEntryMalformed,
	"managed-key-no-key_fail":                                   reason.SignatureUnknownKey,
	"managed-key-wrong-key_fail":                                reason.TrustKeyMalformed,
	"message-digest-mismatch_fail":                              reason.SubjectMismatch,
	"rekor2-checkpoint-missing-log-signature_fail":              reason.LogCheckpointInvalid,
	"rekor2-checkpoint-missing-origin_fail":                     reason.LogCheckpointInvalid,
	"rekor2-checkpoint-missing-root-hash_fail":                  reason.LogCheckpointInvalid,
	"rekor2-checkpoint-missing-size_fail":                       reason.LogCheckpointInvalid,
	"rekor2-checkpoint-no-matching-signature_fail":              reason.LogCheckpointInvalid,
	"rekor2-dsse-invalid-sig_fail":                              reason.LogMismatch,
	"rekor2-dsse-mismatch-envelope_fail":                        reason.LogMismatch,
	"rekor2-dsse-mismatch-sig_fail":                             reason.LogMismatch,
	"rekor2-no-inclusion-proof_fail":                            reason.LogProofAbsent,
	"rekor2-no-timestamp_fail":                                  reason.TimestampAbsent,
	"rekor2-timestamp-outside-trust-root-tsa-validity_fail":     reason.TimestampInvalid,
	"rekor2-timestamp-outside-tsa-cert-validity_fail":           reason.TimestampInvalid,
	"rekor2-timestamp-payload-mismatch_fail":                    reason.TimestampInvalid,
	"rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail":    reason.TimestampInvalid,
	"rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": reason.TimestampInvalid,
	"rekor2-timestamp-with-incorrect-time_fail":                 reason.EnvelopeMalformed,
	"set-invalid-signature_fail":                                reason.LogPromiseInvalid,
	"signature-mismatch_fail":                                   reason.LogMismatch,
	"trust-root-tlog-missing-validity-start_fail":               reason.TrustRootWindow,
	"wrong-hashedrekord-artifact_fail":                          reason.LogMismatch,
	"wrong-hashedrekord-cert-and-sig_fail":                      reason.LogMismatch,
	"wrong-hashedrekord-entry_fail":                             reason.LogMismatch,
	"wrong-material_fail":                                       reason.SubjectMismatch,
}

// TestModelVectors runs the signatures of OpenSSF's model signing: with the key
// that they all share, in both forms in which a bundle has named it, and
// keyless against the public-good root.
func TestModelVectors(t *testing.T) {
	dir := verifytest.Vectors(t, "model-signing")
	if dir == "" {
		return
	}
	key, err := trust.ParseKey(read(t, filepath.Join(dir, "keys", "certificate", "signing-key-pub.pem"), nil))
	if err != nil {
		t.Fatal(err)
	}
	other := newEC(t, elliptic.P384(), crypto.SHA384).key(t)
	cases, err := filepath.Glob(filepath.Join(dir, "v[01].[013].[01]-*", "model.sig"))
	if err != nil || len(cases) != 12 {
		t.Fatalf("vectors: %d cases, %v", len(cases), err)
	}
	for _, path := range cases {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			e, err := evidence.Parse(read(t, path, nil))
			if strings.HasSuffix(name, "-certificate") {
				// A chain in a bundle v0.3 is not Sigstore's; verify/model reads it.
				if code(err) != reason.EnvelopeMalformed {
					t.Errorf("%v, want %s", err, reason.EnvelopeMalformed)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wanted := []digest.Digest{e.Preview().Subjects[0].SHA256}
			root, bad := trust.Root{}.With(key), trust.Root{}.With(other)
			want, because := evidence.Signer{Key: key.ID()}, reason.SignatureUnknownKey
			if strings.HasSuffix(name, "-sigstore") {
				root, bad = trust.Embedded(), trust.Root{}
				want, because = evidence.Signer{SAN: "stefanb@us.ibm.com", SANType: "email", Issuer: "https://sigstore.verify.ibm.com/oauth2"}, reason.TrustRootAbsent
			}
			c, err := evidence.Check(e, root, wanted, now)
			if err != nil || c.Signer() != want || c.PredicateType() != evidence.PredicateModelSignature {
				t.Errorf("%+v says %s: %v", c.Signer(), c.PredicateType(), err)
			}
			c, err = evidence.Check(e, bad, wanted, now)
			refused(t, c, err, because)
		})
	}
}
