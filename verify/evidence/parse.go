package evidence

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"google.golang.org/protobuf/encoding/protojson"
)

// supported lists the versions of the bundle that are read.
func supported(mediaType string) bool {
	switch mediaType {
	case MediaType,
		"application/vnd.dev.sigstore.bundle+json;version=0.1",
		"application/vnd.dev.sigstore.bundle+json;version=0.2",
		"application/vnd.dev.sigstore.bundle+json;version=0.3":
		return true
	}
	return false
}

// Parse reads a Sigstore bundle, or a Layer. It refuses with envelope-too-large,
// envelope-malformed, envelope-duplicate-member, envelope-unknown-version,
// envelope-signature-count, envelope-certificate, envelope-certificate-is-key,
// log-entry-malformed, log-proof-absent, payload-type, statement-malformed or
// statement-type; a Layer with legacy-layer-malformed, legacy-payload-malformed or
// legacy-payload-type too.
func Parse(raw []byte) (Envelope, error) {
	const what = "read envelope"
	refuse := func(code reason.Code, expected, found string, err error) (Envelope, error) {
		return Envelope{}, &reason.Error{Code: code, What: what, Expected: expected, Found: found, Next: next(code), Err: brief(err)}
	}
	if len(raw) > MaxSize {
		return refuse(reason.EnvelopeTooLarge, fmt.Sprintf("at most %d bytes", MaxSize), fmt.Sprint(len(raw)), nil)
	}
	outer, err := within(raw, maxValues)
	if err != nil {
		var twice duplicateMember
		if errors.As(err, &twice) {
			return refuse(reason.EnvelopeDuplicateMember, "", "", err)
		}
		return refuse(reason.EnvelopeMalformed, "", "", err)
	}
	pb := new(protobundle.Bundle)
	var old *legacy
	if string(outer["mediaType"]) == `"`+LayerType+`"` {
		if pb, old, err = convert(raw); err != nil {
			return Envelope{}, err
		}
	} else if err := protojson.Unmarshal(named(raw), pb); err != nil {
		return refuse(reason.EnvelopeMalformed, "", "", err)
	}
	if !supported(pb.GetMediaType()) {
		return refuse(reason.EnvelopeUnknownVersion, MediaType, fmt.Sprintf("%q", pb.GetMediaType()), nil)
	}
	if d := pb.GetDsseEnvelope(); d != nil {
		if n := len(d.GetSignatures()); n != 1 {
			return refuse(reason.EnvelopeSignatureCount, "exactly 1 signature", fmt.Sprint(n), nil)
		}
		// The key ID is outside of what is signed. Libraries skip a signature
		// whose ID they do not expect; the keys to try are ours to choose.
		d.Signatures[0].Keyid = ""
	}
	if err := certificates(pb.GetVerificationMaterial()); err != nil {
		return Envelope{}, err
	}
	if err := entries(pb); err != nil {
		return Envelope{}, err
	}
	b, err := bundle.NewBundle(pb)
	if err != nil {
		return refuse(reason.EnvelopeMalformed, "", "", err)
	}
	e := Envelope{sum: digest.FromBytes(raw), bundle: pb, legacy: old}
	if d := pb.GetDsseEnvelope(); d != nil {
		if d.GetPayloadType() != PayloadType {
			return refuse(reason.PayloadTypeWrong, PayloadType, fmt.Sprintf("%q", d.GetPayloadType()), nil)
		}
		st, err := parseStatement(d.GetPayload())
		if err != nil {
			return refuse(reason.StatementMalformed, "", "", err)
		}
		if st.kind != StatementV1 && st.kind != StatementV01 {
			return refuse(reason.StatementType, StatementV1, fmt.Sprintf("%q", st.kind), nil)
		}
		e.statement = &st
	} else if _, err := b.SignatureContent(); err != nil {
		return refuse(reason.EnvelopeMalformed, "", "", err)
	} else if old != nil {
		e.statement = old.simple
	}
	return e, nil
}

// certificates parses each certificate that the bundle carries. A bare public
// key in a certificate's place is named as such: read leniently, it is a signer
// without an identity.
func certificates(v *protobundle.VerificationMaterial) error {
	carried := v.GetX509CertificateChain().GetCertificates()
	if c := v.GetCertificate(); c != nil {
		carried = append(carried, c)
	}
	if chain := v.GetX509CertificateChain(); chain != nil && len(carried) == 0 {
		return &reason.Error{Code: reason.EnvelopeCertificate, What: "read certificates of envelope", Found: "an empty chain", Next: next(reason.EnvelopeCertificate)}
	}
	for i, c := range carried {
		_, err := x509.ParseCertificate(c.GetRawBytes())
		if err == nil {
			continue
		}
		code := reason.EnvelopeCertificate
		raw := c.GetRawBytes()
		if block, _ := pem.Decode(raw); block != nil {
			raw = block.Bytes
		}
		if _, notKey := x509.ParsePKIXPublicKey(raw); notKey == nil {
			code = reason.EnvelopeCertificateIsKey
		}
		return &reason.Error{
			Code: code, What: fmt.Sprintf("read certificate %d of envelope", i),
			Expected: "an X.509 certificate in DER", Next: next(code), Err: brief(err),
		}
	}
	return nil
}

// entries holds each log entry to what its bundle version asks for: a signed
// promise in v0.1, an inclusion proof from v0.2 on.
func entries(pb *protobundle.Bundle) error {
	if n := len(pb.GetVerificationMaterial().GetTlogEntries()); n > maxEntries {
		return &reason.Error{Code: reason.EnvelopeMalformed, What: "read log entries of envelope", Expected: fmt.Sprintf("at most %d", maxEntries), Found: fmt.Sprint(n), Next: next(reason.EnvelopeMalformed)}
	}
	for i, entry := range pb.GetVerificationMaterial().GetTlogEntries() {
		absent, expected := entry.GetInclusionProof() == nil, "an inclusion proof"
		if strings.HasSuffix(pb.GetMediaType(), "version=0.1") {
			absent, expected = entry.GetInclusionPromise() == nil, "an inclusion promise"
		}
		what := fmt.Sprintf("read log entry %d of envelope", i)
		if absent {
			return &reason.Error{Code: reason.LogProofAbsent, What: what, Expected: expected, Next: next(reason.LogProofAbsent)}
		}
		err := readable(entry)
		if err == nil {
			_, err = tlog.ParseTransparencyLogEntry(entry)
		}
		if err != nil {
			return &reason.Error{Code: reason.LogEntryMalformed, What: what, Next: next(reason.LogEntryMalformed), Err: brief(err)}
		}
	}
	return nil
}

// maxBody caps the body of a log entry, in bytes: it holds a signature, hashes and a
// certificate.
const maxBody = 1 << 20

// readable holds the body of a log entry to the four types that can be of a
// bundle, before the library for all of Rekor's types sees it.
func readable(entry *protorekor.TransparencyLogEntry) error {
	var body struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	raw := entry.GetCanonicalizedBody()
	if len(raw) > maxBody {
		return fmt.Errorf("a body of %d bytes, at most %d", len(raw), maxBody)
	}
	if _, err := within(raw, maxValues); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return err
	}
	said := entry.GetKindVersion()
	if said.GetKind() != body.Kind || said.GetVersion() != body.APIVersion {
		return fmt.Errorf("entry is %s %s and says %s %s", body.Kind, body.APIVersion, said.GetKind(), said.GetVersion())
	}
	switch body.Kind + " " + body.APIVersion {
	case "hashedrekord 0.0.1", "hashedrekord 0.0.2", "dsse 0.0.1", "intoto 0.0.2":
		return nil
	}
	return fmt.Errorf("entry is %s %s", body.Kind, body.APIVersion)
}

// brief is an error as one short, printable line: causes quote the envelope,
// and an envelope is whatever its author likes.
func brief(err error) error {
	if err == nil {
		return nil
	}
	const most = 240
	text := strings.ToValidUTF8(err.Error(), "?")
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return errors.New(text)
}
