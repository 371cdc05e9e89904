package evidence

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	sigverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// skew is how far in the future a verified time may lie: the difference
// between two honest clocks.
const skew = 5 * time.Minute

// Check proves that an envelope, in the eyes of r, says something about one of
// the subjects. It extracts who signed and decides nothing about them: no
// identity is wrong here.
func Check(e Envelope, r trust.Root, subjects []digest.Digest, now time.Time) (Claim, error) {
	switch {
	case e.Zero():
		return Claim{}, &reason.Error{Code: reason.EnvelopeMalformed, What: "check envelope", Found: "nothing", Next: next(reason.EnvelopeMalformed)}
	case e.statement == nil:
		return Claim{}, &reason.Error{
			Code: reason.EnvelopeNotDSSE, What: "check envelope " + e.sum.String(),
			Expected: "a DSSE envelope with an in-toto statement", Found: "a signature over a bare message",
			Next: next(reason.EnvelopeNotDSSE),
		}
	}
	if e.legacy != nil { // it speaks about what it was found at, or it does not count
		if !slices.Contains(subjects, e.legacy.found) {
			return Claim{}, &reason.Error{Code: reason.SubjectMismatch, What: "match subject",
				Expected: list(subjects), Found: "a tag of " + e.legacy.found.String(), Next: next(reason.SubjectMismatch)}
		}
		subjects = []digest.Digest{e.legacy.found}
	}
	subject, err := e.statement.subject(subjects)
	if err != nil {
		return Claim{}, err
	}
	return e.claim(r, subject, e.message(), now)
}

// message is what was signed, where that is no DSSE envelope.
func (e Envelope) message() []byte {
	if e.legacy == nil {
		return nil
	}
	return e.legacy.signed
}

// CheckBlob proves that an envelope, in the eyes of r, was signed over these
// bytes or speaks about them. Unlike Check it takes a signature over a bare
// message, whose Claim has no predicate type.
func CheckBlob(e Envelope, r trust.Root, blob []byte, now time.Time) (Claim, error) {
	if e.Zero() {
		return Claim{}, &reason.Error{Code: reason.EnvelopeMalformed, What: "check envelope", Found: "nothing", Next: next(reason.EnvelopeMalformed)}
	}
	subject := digest.FromBytes(blob)
	if e.statement != nil {
		return Check(e, r, []digest.Digest{subject}, now)
	}
	// The digest inside is a hint. It is compared so that other bytes are
	// called other bytes, and not a bad signature.
	if d := e.bundle.GetMessageSignature().GetMessageDigest(); d.GetAlgorithm() == protocommon.HashAlgorithm_SHA2_256 &&
		hex.EncodeToString(d.GetDigest()) != subject.Encoded() {
		return Claim{}, &reason.Error{
			Code: reason.SubjectMismatch, What: "match message digest",
			Expected: subject.String(), Found: "sha256:" + hex.EncodeToString(d.GetDigest()), Next: next(reason.SubjectMismatch),
		}
	}
	return e.claim(r, subject, blob, now)
}

// proof is who signed, and by when.
type proof struct {
	signer Signer
	key    string // trust.Key ID of the key that verified
	times  []witnessed

	witnesses    []Witness
	certificates []digest.Digest
	begun        time.Time // of the signer's certificate
}

// witnessed is a verified time and who vouches for it.
type witnessed struct {
	at     time.Time
	source TimeSource
}

// claim proves the envelope. The statement is known to name the subject; message
// is what must have been signed where that is no DSSE envelope.
func (e Envelope) claim(r trust.Root, subject digest.Digest, message []byte, now time.Time) (Claim, error) {
	b, err := bundle.NewBundle(e.bundle)
	if err != nil {
		return Claim{}, &reason.Error{Code: reason.EnvelopeMalformed, What: "check envelope " + e.sum.String(), Err: brief(err)}
	}
	s := signed{Bundle: b, envelope: e, subject: subject, message: message, now: now}
	var p proof
	switch leaf := leafOf(e.bundle.GetVerificationMaterial()); {
	case e.bundle.GetVerificationMaterial().GetPublicKey() != nil:
		p, err = s.keyed(r)
	case len(r.Authorities()) > 0 && leaf != nil && !issued(leaf):
		p, err = s.certified(r, leaf)
	default:
		p, err = s.keyless(r)
	}
	if err != nil {
		return Claim{}, err
	}
	for _, t := range p.times {
		if t.at.After(now.Add(skew)) {
			return Claim{}, &reason.Error{
				Code: reason.TimestampFuture, What: "check time of envelope " + e.sum.String(),
				Expected: "at most " + now.Add(skew).UTC().Format(time.RFC3339), Found: t.at.UTC().Format(time.RFC3339),
				Next: "compare this host's clock with another",
			}
		}
	}
	c := Claim{signer: p.signer, subject: subject, key: p.key, witnesses: p.witnesses, certificates: p.certificates, begun: p.begun, envelope: e.sum, legacy: e.legacy != nil}
	if len(p.times) > 0 {
		first := slices.MinFunc(p.times, func(a, b witnessed) int {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.source, b.source))
		})
		c.at, c.source = first.at.UTC(), first.source
	}
	if e.statement != nil {
		st := e.statement
		c.statementType, c.predicateType, c.predicate, c.subjects = st.kind, st.predicateType, st.predicate, st.subjects
	} else {
		c.subjects = []Subject{{SHA256: subject}}
	}
	return c, nil
}

// signed is an envelope on its way through sigstore-go.
type signed struct {
	*bundle.Bundle
	envelope Envelope
	subject  digest.Digest
	message  []byte // what was signed, when there is no DSSE envelope
	now      time.Time
	only     *tlog.Entry // the one log entry to look at; nil for all
}

// TlogEntries are the bundle's log entries, or the one to look at.
func (s signed) TlogEntries() ([]*tlog.Entry, error) {
	if s.only != nil {
		return []*tlog.Entry{s.only}, nil
	}
	return s.Bundle.TlogEntries()
}

// bare says that the signature is over message, and not over a DSSE envelope.
func (s signed) bare() bool { return s.GetDsseEnvelope() == nil }

// Version hides the bundle's version from sigstore-go, which uses it for one
// thing: for the known versions it also tries SHA-256 on certificates with
// P-384 and P-521 keys, and says so on standard error.
func (s signed) Version() (string, error) { return "exact", nil }

// refuse names a cause for this envelope.
func (s signed) refuse(code reason.Code, expected, found string, err error) error {
	return &reason.Error{
		Code: code, What: "check envelope " + s.envelope.sum.String(),
		Expected: expected, Found: found, Next: next(code), Err: brief(err),
	}
}

// next is what the reader can do about a refusal.
func next(code reason.Code) string {
	switch code {
	case reason.SignatureUnknownKey:
		return "it is signed by a key that is not believed: --key FILE with that one, or {key: FILE} in the policy, if you believe whose it is"
	case reason.KeyOutsideWindow:
		return "sign it again by a key that may sign now, or where a log or a timestamp authority proves when; where the window itself is wrong, change from: and until: of the key"
	case reason.CertificateUsage:
		return "sign with a certificate for code signing"
	case reason.LogUnknown, reason.CertificateUntrusted, reason.SCTInvalid, reason.TimestampInvalid, reason.CertificateAuthorityExpired:
		return "--trusted-root FILE, the root of the instance that signed it; once for all: ztlaunch trust add FILE, or if it is newer, ztlaunch trust update"
	case reason.EnvelopeNotDSSE:
		return "cosign sign, or ztlaunch sign"
	}
	return "ztlaunch tree REF"
}

// keyless proves a bundle that carries a certificate.
func (s signed) keyless(r trust.Root) (proof, error) {
	material, err := r.Sigstore()
	if err != nil {
		return proof{}, err
	}
	leaf := leafOf(s.GetVerificationMaterial())
	signer, err := identity(leaf)
	if err != nil {
		return proof{}, s.refuse(reason.CertificateIdentity, "one subject alternative name and one issuer", "", err)
	}
	options := []sigverify.VerifierOption{
		sigverify.WithTransparencyLog(1), sigverify.WithObserverTimestamps(1), sigverify.WithoutStatementPredicate(),
	}
	if len(material.CTLogs()) > 0 {
		options = append(options, sigverify.WithSignedCertificateTimestamps(1))
	}
	v, err := sigverify.NewVerifier(material, options...)
	if err != nil {
		return proof{}, err
	}
	sum, err := hex.DecodeString(s.subject.Encoded())
	if err != nil {
		return proof{}, err
	}
	artifact := sigverify.WithArtifactDigest("sha256", sum)
	if s.bare() {
		artifact = sigverify.WithArtifact(bytes.NewReader(s.message))
	}
	// Check extracts the identity and the policy decides about it, so the
	// library is told not to. This is the only such call in the program.
	result, err := v.Verify(s, sigverify.NewPolicy(artifact, sigverify.WithoutIdentitiesUnsafe()))
	if err != nil {
		return proof{}, s.diagnose(material, err)
	}
	p := proof{signer: signer, begun: leaf.NotBefore.UTC()}
	key, err := trust.NewKey(leaf.PublicKey)
	if err != nil {
		return proof{}, s.refuse(reason.CertificateUntrusted, "a certificate for a key that is strong enough", "", err)
	}
	p.key = key.ID()
	// Again, entry by entry: sigstore-go counts logs and does not name them, and
	// passes over an entry whose promise is forged when another one holds.
	if p.witnesses, _, err = s.logged(material); err != nil {
		return proof{}, err
	}
	if len(p.witnesses) == 0 {
		return proof{}, s.refuse(reason.LogAbsent, "an entry of a log of the root", "none", nil)
	}
	for _, t := range result.VerifiedTimestamps {
		source := TimeTSA
		if t.Type == "Tlog" {
			source = TimeLog
		}
		p.times = append(p.times, witnessed{t.Timestamp, source})
	}
	p.witnesses = stamped(p.witnesses, p.times)
	p.certificates = issuers(leaf, fulcio(material))
	return p, nil
}
