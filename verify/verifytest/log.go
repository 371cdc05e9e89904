package verifytest

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
)

// log is a log of any kind: a key and an address.
type log struct {
	key *ecdsa.PrivateKey
	url string
}

// id is the SHA-256 of the log's key (RFC 6962, section 3.2; Rekor does alike).
func (l log) id(t testing.TB) []byte {
	t.Helper()
	sum := sha256.Sum256(spki(t, l.key.Public()))
	return sum[:]
}

func (l log) instance(t testing.TB) *prototrust.TransparencyLogInstance {
	t.Helper()
	return &prototrust.TransparencyLogInstance{
		BaseUrl: l.url, HashAlgorithm: protocommon.HashAlgorithm_SHA2_256,
		LogId: &protocommon.LogId{KeyId: l.id(t)},
		PublicKey: &protocommon.PublicKey{
			RawBytes: spki(t, l.key.Public()), ValidFor: always(),
			KeyDetails: protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
		},
	}
}

// PEM types of what verifies a signature.
const (
	certificate = "CERTIFICATE"
	publicKey   = "PUBLIC KEY"
)

// Version is a version of Rekor.
type Version uint8

// The versions of Rekor.
const (
	RekorV1 Version = iota // dsse 0.0.1, with a signed promise and time
	RekorV2                // hashedrekord 0.0.2 over the PAE, timestamped by the authority
)

// entry logs an envelope at o.At, with the certificate or the public key that
// verifies it. The tree holds one other entry, before it or, at index 0, after.
func (s *Sigstore) entry(t testing.TB, b *protobundle.Bundle, by pem.Block, v Version, index int64, o Options) *protorekor.TransparencyLogEntry {
	t.Helper()
	envelope := b.GetDsseEnvelope()
	sig := envelope.GetSignatures()[0].GetSig()
	if v == RekorV2 {
		member := "x509Certificate"
		if by.Type == publicKey {
			member = "publicKey"
		}
		sum := sha256.Sum256(pae(envelope.GetPayloadType(), envelope.GetPayload()))
		body := canonical(t, object{
			"apiVersion": "0.0.2", "kind": "hashedrekord",
			"spec": object{"hashedRekordV002": object{
				"data": object{"algorithm": "SHA2_256", "digest": sum[:]},
				"signature": object{
					"content":  sig,
					"verifier": object{"keyDetails": "PKIX_ECDSA_P256_SHA_256", member: object{"rawBytes": by.Bytes}},
				},
			}},
		})
		return s.tiles.include(t, index, body, "hashedrekord", "0.0.2", strings.TrimPrefix(s.tiles.url, "https://"))
	}
	raw := canonical(t, object{
		"payload": envelope.GetPayload(), "payloadType": envelope.GetPayloadType(),
		"signatures": []any{object{"sig": sig}},
	})
	whole, payload := sha256.Sum256(raw), sha256.Sum256(envelope.GetPayload())
	body := canonical(t, object{
		"apiVersion": "0.0.1", "kind": "dsse",
		"spec": object{
			"envelopeHash": object{"algorithm": "sha256", "value": hex.EncodeToString(whole[:])},
			"payloadHash":  object{"algorithm": "sha256", "value": hex.EncodeToString(payload[:])},
			"signatures": []any{object{
				"signature": base64.StdEncoding.EncodeToString(sig),
				"verifier":  pem.EncodeToMemory(&by),
			}},
		},
	})
	return s.promised(t, body, "dsse", index, o)
}

// promised logs a body of version 0.0.1 at o.At, with the signed promise.
func (s *Sigstore) promised(t testing.TB, body []byte, kind string, index int64, o Options) *protorekor.TransparencyLogEntry {
	t.Helper()
	e := s.rekor.include(t, index, body, kind, "0.0.1", "rekor.sigstore.test - 1193050959916656506")
	e.IntegratedTime = o.At.Unix()
	e.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: sign(t, s.rekor.key, canonical(t, object{
		"body": body, "integratedTime": e.GetIntegratedTime(), "logIndex": e.GetLogIndex(), "logID": hex.EncodeToString(s.rekor.id(t)),
	}))}
	return e
}

// include puts a body into a tree of two leaves and proves it (RFC 6962,
// section 2.1; C2SP checkpoints and signed notes).
func (l log) include(t testing.TB, index int64, body []byte, kind, version, origin string) *protorekor.TransparencyLogEntry {
	t.Helper()
	other := sha256.Sum256([]byte("\x00another entry"))
	leaf := sha256.Sum256(append([]byte{0}, body...))
	root := sha256.Sum256(append(append([]byte{1}, other[:]...), leaf[:]...))
	if index == 0 {
		root = sha256.Sum256(append(append([]byte{1}, leaf[:]...), other[:]...))
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: index, LogId: &protocommon.LogId{KeyId: l.id(t)}, CanonicalizedBody: body,
		KindVersion: &protorekor.KindVersion{Kind: kind, Version: version},
		InclusionProof: &protorekor.InclusionProof{
			LogIndex: index, TreeSize: 2, RootHash: root[:], Hashes: [][]byte{other[:]},
			Checkpoint: &protorekor.Checkpoint{Envelope: l.checkpoint(t, origin, 2, root[:])},
		},
	}
}

func (l log) checkpoint(t testing.TB, origin string, size int, root []byte) string {
	t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root))
	name, _, _ := strings.Cut(origin, " ")
	sig := append(l.id(t)[:4:4], sign(t, l.key, []byte(text))...)
	return fmt.Sprintf("%s\n\u2014 %s %s\n", text, name, base64.StdEncoding.EncodeToString(sig))
}

// object is a JSON object.
type object = map[string]any

// canonical is JSON with sorted members and no white space. Nothing that is
// logged here holds text that RFC 8785 would write differently.
func canonical(t testing.TB, v object) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// pae is what a DSSE signature covers.
func pae(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}
