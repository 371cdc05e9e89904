package evidence

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"google.golang.org/protobuf/encoding/protojson"
)

// LayerType is the media type of a Layer's JSON.
const LayerType = "application/vnd.ztlaunch.cosign-layer.v1+json"

// Media types of the layers in which cosign up to version 2 keeps evidence.
const (
	SimpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json"
	DSSEType          = "application/vnd.dsse.envelope.v1+json"
)

const (
	signatureKey   = "dev.cosignproject.cosign/signature"
	certificateKey = "dev.sigstore.cosign/certificate"
	chainKey       = "dev.sigstore.cosign/chain"
	rekorKey       = "dev.sigstore.cosign/bundle"
	timestampKey   = "dev.sigstore.cosign/rfc3161timestamp"

	bundleV01      = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	simpleType     = "cosign container image signature"
	certificatePEM = "CERTIFICATE"
	publicKeyPEM   = "PUBLIC KEY"
)

// Layer is one layer of what cosign up to version 2 keeps under the tags
// sha256-HEX.sig and .att, as it was found. Nothing about it is proved.
type Layer struct {
	Subject     digest.Digest     // the manifest or index that it was found at
	MediaType   string            // SimpleSigningType or DSSEType
	Annotations map[string]string // of the layer; those that a proof needs are kept
	Payload     []byte            // the layer's bytes
}

// keptLayer is a Layer as JSON.
type keptLayer struct {
	MediaType   string            `json:"mediaType"` // LayerType
	Subject     digest.Digest     `json:"subject"`
	LayerType   string            `json:"layerType"`
	Annotations map[string]string `json:"annotations"`
	Payload     []byte            `json:"payload"`
}

// Encode is the layer as the envelope that Parse reads: equal layers give equal
// bytes.
func (l Layer) Encode() ([]byte, error) {
	k := keptLayer{MediaType: LayerType, Subject: l.Subject, LayerType: l.MediaType, Annotations: map[string]string{}, Payload: l.Payload}
	for _, key := range [...]string{signatureKey, certificateKey, chainKey, rekorKey, timestampKey} {
		if v := l.Annotations[key]; v != "" {
			k.Annotations[key] = v
		}
	}
	return json.Marshal(k)
}

// legacy is what a converted layer has besides its bundle.
type legacy struct {
	found  digest.Digest // the manifest or index that the layer was found at
	simple *statement    // of a simple-signing payload
	signed []byte        // that payload
}

// convert reads a layer's JSON and writes the Sigstore bundle v0.1 that says the
// same.
func convert(raw []byte) (*protobundle.Bundle, *legacy, error) {
	fail := func(code reason.Code, expected string, err error) (*protobundle.Bundle, *legacy, error) {
		return nil, nil, &reason.Error{Code: code, What: "read a layer of a cosign tag", Expected: expected, Next: next(code), Err: brief(err)}
	}
	var k keptLayer
	err := only(raw, &k, "mediaType", "subject", "layerType", "annotations", "payload")
	if err == nil {
		err = k.Subject.Validate()
	}
	if err != nil {
		return fail(reason.EnvelopeMalformed, "", err)
	}
	note := k.Annotations
	pb := &protobundle.Bundle{MediaType: bundleV01, VerificationMaterial: &protobundle.VerificationMaterial{}}
	if err := signerOf(pb.VerificationMaterial, note[certificateKey], note[chainKey]); err != nil {
		return nil, nil, err
	}
	if err := witnesses(pb.VerificationMaterial, note[rekorKey], note[timestampKey]); err != nil {
		return fail(reason.LegacyLayerMalformed, "annotations as cosign writes them", err)
	}
	l := &legacy{found: k.Subject}
	switch k.LayerType {
	case SimpleSigningType:
		sig, err := base64.StdEncoding.DecodeString(note[signatureKey])
		if err == nil && len(sig) == 0 {
			err = errors.New("no signature")
		}
		if err != nil {
			return fail(reason.LegacyLayerMalformed, "a signature in base64 in the annotation "+signatureKey, err)
		}
		sum := digest.FromBytes(k.Payload)
		hash, err := hex.DecodeString(sum.Encoded())
		if err != nil {
			return fail(reason.LegacyLayerMalformed, "", err)
		}
		pb.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: hash}, Signature: sig}}
		st, err := parseSimple(k.Payload)
		if err != nil {
			return nil, nil, err
		}
		l.simple, l.signed = &st, k.Payload
	case DSSEType:
		if _, err := within(k.Payload, maxValues); err != nil {
			return fail(reason.LegacyLayerMalformed, "a DSSE envelope", err)
		}
		d := new(protodsse.Envelope)
		if err := protojson.Unmarshal(k.Payload, d); err != nil {
			return fail(reason.LegacyLayerMalformed, "a DSSE envelope", err)
		}
		pb.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: d}
	default:
		return fail(reason.LegacyLayerMalformed, SimpleSigningType+" or "+DSSEType, fmt.Errorf("layer is %q", k.LayerType))
	}
	return pb, l, nil
}

// signerOf names the signer: the certificate with its chain, or a key that the
// layer does not name.
func signerOf(v *protobundle.VerificationMaterial, leaf, chain string) error {
	if strings.TrimSpace(leaf) == "" {
		v.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
		return nil
	}
	certs, err := blocks(leaf)
	if err == nil && len(certs) != 1 {
		err = fmt.Errorf("%d certificates, want one", len(certs))
	}
	more, chainErr := blocks(chain)
	if err = errors.Join(err, chainErr); err != nil {
		code := reason.EnvelopeCertificate
		if errors.Is(err, errKey) {
			code = reason.EnvelopeCertificateIsKey
		}
		return &reason.Error{Code: code, What: "read certificates of a layer of a cosign tag", Expected: "one certificate in PEM, and its chain", Next: next(code), Err: brief(err)}
	}
	v.Content = &protobundle.VerificationMaterial_X509CertificateChain{
		X509CertificateChain: &protocommon.X509CertificateChain{Certificates: append(certs, more...)}}
	return nil
}

var errKey = errors.New("a public key")

// blocks reads PEM certificates with nothing else between them.
func blocks(text string) (all []*protocommon.X509Certificate, err error) {
	for rest := []byte(strings.TrimSpace(text)); len(rest) > 0; {
		if !strings.HasPrefix(string(rest), "-----BEGIN ") {
			return nil, errors.New("text outside of PEM")
		}
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil, errors.New("no PEM")
		}
		rest = []byte(strings.TrimSpace(string(rest)))
		switch b.Type {
		case certificatePEM:
		case publicKeyPEM:
			return nil, errKey
		default:
			return nil, fmt.Errorf("a PEM block of type %q", b.Type)
		}
		all = append(all, &protocommon.X509Certificate{RawBytes: b.Bytes})
	}
	return all, nil
}

// witnesses adds the log's signed promise and the timestamp.
func witnesses(v *protobundle.VerificationMaterial, rekor, stamp string) error {
	if rekor != "" {
		entry, err := promise([]byte(rekor))
		if err != nil {
			return fmt.Errorf("annotation %s: %w", rekorKey, err)
		}
		v.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if stamp == "" {
		return nil
	}
	var s struct {
		Token []byte `json:"SignedRFC3161Timestamp"`
	}
	if err := only([]byte(stamp), &s, "SignedRFC3161Timestamp"); err != nil {
		return fmt.Errorf("annotation %s: %w", timestampKey, err)
	}
	if len(s.Token) == 0 {
		return fmt.Errorf("annotation %s: no timestamp", timestampKey)
	}
	v.TimestampVerificationData = &protobundle.TimestampVerificationData{
		Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: s.Token}}}
	return nil
}

// promise is the entry of a Rekor v1 log whose signed entry timestamp cosign
// keeps.
func promise(raw []byte) (*protorekor.TransparencyLogEntry, error) {
	var set struct {
		Promise []byte          `json:"SignedEntryTimestamp"`
		Payload json.RawMessage `json:"Payload"`
	}
	if err := only(raw, &set, "SignedEntryTimestamp", "Payload"); err != nil {
		return nil, err
	}
	var e struct {
		Body  []byte `json:"body"`
		Time  int64  `json:"integratedTime"`
		Index int64  `json:"logIndex"`
		Log   string `json:"logID"`
	}
	if err := only(set.Payload, &e, "body", "integratedTime", "logIndex", "logID"); err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(e.Log)
	if err != nil {
		return nil, err
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(e.Body, &kind); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if len(set.Promise) == 0 {
		return nil, errors.New("no signed entry timestamp")
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: e.Index, LogId: &protocommon.LogId{KeyId: id}, IntegratedTime: e.Time, CanonicalizedBody: e.Body,
		KindVersion:      &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: set.Promise},
	}, nil
}

// parseSimple reads a simple-signing payload (containers-signature(5), section
// "JSON data format", with cosign's own type).
func parseSimple(payload []byte) (statement, error) {
	fail := func(code reason.Code, expected, found string, err error) (statement, error) {
		return statement{}, &reason.Error{Code: code, What: "read simple-signing payload", Expected: expected, Found: found, Next: next(code), Err: brief(err)}
	}
	var p struct {
		Critical json.RawMessage `json:"critical"`
		Optional json.RawMessage `json:"optional"` // signed, and nobody's rule
	}
	var critical struct {
		Identity json.RawMessage `json:"identity"`
		Image    json.RawMessage `json:"image"`
		Type     *string         `json:"type"`
	}
	var image struct {
		Digest *string `json:"docker-manifest-digest"`
	}
	var identity struct {
		Reference *string `json:"docker-reference"`
	}
	err := only(payload, &p, "critical", "optional")
	if err == nil {
		err = only(p.Critical, &critical, "identity", "image", "type")
	}
	if err == nil {
		err = only(critical.Image, &image, "docker-manifest-digest")
	}
	if err == nil {
		err = only(critical.Identity, &identity, "docker-reference")
	}
	if err == nil && (critical.Type == nil || image.Digest == nil || identity.Reference == nil) {
		err = errors.New("no type, docker-manifest-digest or docker-reference")
	}
	switch {
	case err != nil:
		return fail(reason.LegacyPayloadMalformed, "critical with identity, image and type, and optional", "", err)
	case *critical.Type != simpleType:
		return fail(reason.LegacyPayloadType, simpleType, fmt.Sprintf("%.80q", *critical.Type), nil)
	}
	d := digest.Digest(*image.Digest)
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		d = "" // named by nothing that is compared here: subject-unusable
	}
	return statement{predicateType: PredicateCosignSign, subjects: []Subject{{SHA256: d}}}, nil
}

// only reads a strict JSON object that has no other members than these.
func only(raw []byte, into any, names ...string) error {
	members, err := strict(raw)
	if err != nil {
		return err
	}
	for m := range members {
		if !slices.Contains(names, m) {
			return fmt.Errorf("member %q", m)
		}
	}
	return json.Unmarshal(raw, into)
}
