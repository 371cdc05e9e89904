// Package evidence turns what somebody says into what somebody proved: an
// Envelope is a well-formed Sigstore bundle of which nothing is true yet, a
// Claim is one that was checked against a trust.Root. Only Check and CheckBlob
// make Claims; what Suppose makes for a policy's tests is marked and decides nothing.
//
// # Envelopes
//
// An envelope is the JSON form of dev.sigstore.bundle.v1.Bundle, media types
// application/vnd.dev.sigstore.bundle+json;version=0.1, =0.2, =0.3 and
// application/vnd.dev.sigstore.bundle.v0.3+json, at most 32 MiB. Unknown,
// duplicate and differently-cased members, trailing data, and DSSE envelopes
// with other than one signature are refused. In place of a hint, OpenSSF Model
// Signing before 1.1.0 wrote the public key itself (rawBytes, keyDetails), which
// is read as that key's name. The payload of a DSSE envelope is an in-toto
// Statement (payload type application/vnd.in-toto+json), read under the rules
// of I-JSON: UTF-8, no duplicate member at any depth, no second value. A
// statement has at most 1024 subjects with at most 32 digests each. All but the
// payload has at most 16384 JSON values, an entry's body at most a megabyte, and the
// objects around any one place together at most 131072 members. At most 32 log entries
// are of the types hashedrekord 0.0.1 and 0.0.2, dsse 0.0.1 and intoto 0.0.2.
//
// # What cosign kept before
//
// Cosign up to version 2 keeps a signature, or an attestation, as one layer of an
// image under a tag beside the image (sha256-HEX.sig, .att), with the signature and
// what goes with it in the layer's annotations. Such a Layer is kept as it was
// found, in JSON of the media type LayerType with exactly the members mediaType,
// subject (the digest HEX), layerType, annotations and payload (base64), so that it
// can be proved again from the store; and it is proved as the Sigstore bundle v0.1
// that Parse makes of it, by the same code as every other:
//
//	layer                                       bundle
//	payload, SimpleSigningType                  messageSignature.messageDigest, SHA2_256 of the payload
//	dev.cosignproject.cosign/signature, base64  messageSignature.signature
//	payload, DSSEType                           dsseEnvelope (the annotation beside it is not read)
//	dev.sigstore.cosign/certificate, PEM, one   x509CertificateChain.certificates[0]
//	dev.sigstore.cosign/chain, PEM              the certificates after it, which nothing is proved with
//	no certificate                              publicKey with an empty hint
//	dev.sigstore.cosign/bundle                  tlogEntries[0]: {"SignedEntryTimestamp", "Payload": {"body",
//	                                            "integratedTime", "logIndex", "logID"}}, the promise, the body,
//	                                            the time and the index as they are, the log's ID from hex
//	dev.sigstore.cosign/rfc3161timestamp        rfc3161Timestamps[0]: {"SignedRFC3161Timestamp"}
//
// Other annotations are not kept. A member that is not named here, text around PEM,
// and a public key in a certificate's place are refused; and so are the log entries
// of types that bundles may not have either (rekord, intoto 0.0.1).
//
// A simple-signing payload is strict JSON of the members critical {identity
// {docker-reference}, image {docker-manifest-digest}, type} and optional. Its Claim is
// of the predicate type PredicateCosignSign without a predicate, about the
// docker-manifest-digest; critical.type must be "cosign container image signature".
// The name in identity and all of optional are signed and decide nothing. Whatever
// its form, a Layer must speak about the digest of the tag that it was found at.
//
// # Checking
//
// No network is used. A bundle that names a public key is tried with the keys
// of the Root and no other. The hint inside it is nobody's promise and selects
// nothing; but a hint that is the name of a key (see trust.Key.Named), and of
// none in the Root, ends in signature-unknown-key. A label that names no key is
// ignored. A log entry is not required. Every entry of a log that the Root knows
// must be right, whoever signed; one of another log proves nothing and counts as
// no entry. Claim.Logs names the logs, each once however many entries it has.
// ECDSA signatures hash with the curve's own SHA-2, and with SHA-256 for
// P-384 and P-521 as older tools did; Ed25519 is taken pure and, because cosign
// signs so, as Ed25519ph; RSA is PKCS#1 v1.5 with SHA-256.
//
// A bundle with a certificate needs one verified log entry, one verified time
// (from the log or from a timestamp authority), a chain to an authority of the
// Root at every verified time, and a signed certificate timestamp of a
// certificate-transparency log of the Root. A Root without such logs describes
// an instance that runs none, and then none is asked for; that is a property
// of the file, which the Root's digest covers. The certificate's key hashes
// with its curve's own SHA-2. No verified time may lie more than five minutes
// after now.
//
// A certificate without an OIDC issuer (1.3.6.1.4.1.57264.1.1 and .8) is one of a
// private authority, and one with an issuer never is, so neither can stand for the
// other. It needs no log, no signed certificate timestamp and no Sigstore root,
// but has to chain to a root of one of the Root's authorities (RFC 5280, section
// 6, for code signing) at every verified time or, where nobody vouches for one,
// now; every certificate of the chain, the root too, must be valid then. The
// bundle may carry intermediates (x509CertificateChain, bundles 0.1 and 0.2). The
// certificate is no authority itself, has the key usage digitalSignature and,
// where it states extended usages, codeSigning among them. Its key is held to the
// rules of package trust and verifies in each of the ways above. Of several roots
// that stand behind it, the first by name is Signer.Authority.
//
// The signature is proved by sigstore-go. When it refuses, the same stages are
// run again one by one, only to name the cause: a diagnosis never turns a
// refusal into a Claim.
//
// A Claim speaks about the first of the wanted subjects that the statement
// names by sha256. Statements are of type v1, or v0.1, whose subject and
// predicate mean the same and which cosign v3 still writes for attestations
// (never for image signatures); Claim.StatementType tells them apart, and
// Claim.Legacy tells a Layer from a bundle. A bundle
// over a bare message (MessageSignature) makes no Claim about an image, because
// it does not say what the signature means: that is envelope-not-dsse.
// CheckBlob takes both.
//
// A Claim names every log and timestamp authority of the Root that vouches for its
// signature, with the time of each, and the certificates of the Root above the one that
// signed: found by name, so that an authority is among them whenever it may have
// issued one. Somebody who believes one of them no more has to be able to ask.
//
// # What it does not check
//
// Who may sign (the policy compares Signer), what a predicate says, whether a
// predicate type is one that anybody asked for, how old a Claim may be, how old
// the Root is, and whether a private authority has revoked a certificate.
package evidence

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
)

// MediaType is the media type of the bundles written today.
const MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// MaxSize caps an envelope, in bytes.
const MaxSize = 32 << 20

// Envelope is a well-formed Sigstore bundle. Everything it says is unproved.
// The zero Envelope is refused by Check.
type Envelope struct {
	sum       digest.Digest
	bundle    *protobundle.Bundle // never written after Parse
	statement *statement          // nil for a bundle over a bare message
	legacy    *legacy             // nil for a bundle
}

// Zero says that there is no envelope.
func (e Envelope) Zero() bool { return e.bundle == nil }

// Digest is the SHA-256 of the bundle's bytes as they were read.
func (e Envelope) Digest() digest.Digest { return e.sum }

// PredicateType is what the statement calls its predicate, unproved; "" for a
// bundle over a bare message.
func (e Envelope) PredicateType() string {
	if e.statement == nil {
		return ""
	}
	return e.statement.predicateType
}

// Preview is what an envelope says about itself. Nothing of it is proved: it
// is for display, never for a decision.
type Preview struct {
	MediaType     string
	StatementType string // "" for a bundle over a bare message, and for a simple-signing payload
	PredicateType string
	Predicate     json.RawMessage
	Subjects      []Subject
	Signer        Signer // of the certificate inside; the zero Signer for a key
	KeyHint       string
	LogEntries    int
	Timestamps    int
	LoggedAt      time.Time // as the first log entry says; zero if it does not
}

// Preview reads what the envelope says about itself.
func (e Envelope) Preview() Preview {
	if e.Zero() {
		return Preview{}
	}
	v := e.bundle.GetVerificationMaterial()
	p := Preview{
		MediaType:  e.bundle.GetMediaType(),
		KeyHint:    v.GetPublicKey().GetHint(),
		LogEntries: len(v.GetTlogEntries()),
		Timestamps: len(v.GetTimestampVerificationData().GetRfc3161Timestamps()),
	}
	if p.LogEntries > 0 && v.GetTlogEntries()[0].GetIntegratedTime() > 0 {
		p.LoggedAt = time.Unix(v.GetTlogEntries()[0].GetIntegratedTime(), 0).UTC()
	}
	if e.statement != nil {
		p.StatementType, p.PredicateType, p.Predicate = e.statement.kind, e.statement.predicateType, bytes.Clone(e.statement.predicate)
		p.Subjects = append(p.Subjects, e.statement.subjects...)
	}
	if leaf := leafOf(v); leaf != nil && issued(leaf) {
		p.Signer, _ = identity(leaf) // an unreadable identity shows as none
	} else if leaf != nil {
		p.Signer.SANType, p.Signer.SAN, _ = name(leaf)
	}
	return p
}
