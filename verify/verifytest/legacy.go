package verifytest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"testing"

	"github.com/opencontainers/go-digest"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
)

// Simple is the simple-signing payload that cosign up to version 2 writes about
// an image. optional is what it signs besides.
func Simple(t testing.TB, image digest.Digest, optional map[string]any) []byte {
	t.Helper()
	raw, err := json.Marshal(object{
		"critical": object{
			"identity": object{"docker-reference": "registry.example/agent"},
			"image":    object{"docker-manifest-digest": image},
			"type":     "cosign container image signature",
		},
		"optional": optional,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Sign2 signs a simple-signing payload as who, as cosign 2 does: by certificate,
// with Rekor's promise in an annotation. subject is what it is kept at.
func (s *Sigstore) Sign2(t testing.TB, who evidence.Signer, subject digest.Digest, payload []byte, o Options) evidence.Layer {
	t.Helper()
	o = o.filled()
	k := newKey(t)
	cert := pem.Block{Type: certificate, Bytes: s.issue(t, who, k, o).Raw}
	l := simple(t, k, subject, payload)
	s.certify(l, cert)
	s.promise(t, l, s.hashed(t, payload, l.Annotations["dev.cosignproject.cosign/signature"], cert, o))
	return l
}

// SignKey2 does what Sign2 does with a key.
func (s *Sigstore) SignKey2(t testing.TB, k Key, subject digest.Digest, payload []byte, o Options) evidence.Layer {
	t.Helper()
	l := simple(t, k.private, subject, payload)
	by := pem.Block{Type: publicKey, Bytes: spki(t, k.private.Public())}
	s.promise(t, l, s.hashed(t, payload, l.Annotations["dev.cosignproject.cosign/signature"], by, o.filled()))
	return l
}

// Sign2 signs a simple-signing payload with a key, and logs nothing.
func (k Key) Sign2(t testing.TB, subject digest.Digest, payload []byte) evidence.Layer {
	t.Helper()
	return simple(t, k.private, subject, payload)
}

// Attest2 signs a statement as who, as cosign 2 does.
func (s *Sigstore) Attest2(t testing.TB, who evidence.Signer, subject digest.Digest, statement []byte, o Options) evidence.Layer {
	t.Helper()
	o = o.filled()
	k := newKey(t)
	cert := pem.Block{Type: certificate, Bytes: s.issue(t, who, k, o).Raw}
	b := envelope(t, k, statement)
	l := attestation(t, k, subject, statement)
	s.certify(l, cert)
	// The log and the layer hold one signature: ECDSA's differ each time.
	var d struct {
		Signatures []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(l.Payload, &d); err != nil {
		t.Fatal(err)
	}
	b.GetDsseEnvelope().Signatures[0].Sig = d.Signatures[0].Sig
	s.promise(t, l, s.entry(t, b, cert, o.Log, 1, o))
	return l
}

// Attest2 signs a statement with a key, and logs nothing.
func (k Key) Attest2(t testing.TB, subject digest.Digest, statement []byte) evidence.Layer {
	t.Helper()
	return attestation(t, k.private, subject, statement)
}

func simple(t testing.TB, k *ecdsa.PrivateKey, subject digest.Digest, payload []byte) evidence.Layer {
	t.Helper()
	return evidence.Layer{Subject: subject, MediaType: evidence.SimpleSigningType, Payload: bytes.Clone(payload),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sign(t, k, payload))}}
}

func attestation(t testing.TB, k *ecdsa.PrivateKey, subject digest.Digest, statement []byte) evidence.Layer {
	t.Helper()
	raw, err := json.Marshal(object{
		"payloadType": evidence.PayloadType, "payload": statement,
		"signatures": []any{object{"keyid": "", "sig": sign(t, k, pae(evidence.PayloadType, statement))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Layer{Subject: subject, MediaType: evidence.DSSEType, Payload: raw,
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": "", "predicateType": "https://example.com/said-by-nobody"}}
}

func (s *Sigstore) certify(l evidence.Layer, cert pem.Block) {
	l.Annotations["dev.sigstore.cosign/certificate"] = string(pem.EncodeToMemory(&cert))
	var chain []byte
	for _, a := range []authority{s.issuer, s.root} {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: certificate, Bytes: a.cert.Raw})...)
	}
	l.Annotations["dev.sigstore.cosign/chain"] = string(chain)
}

// hashed logs a signature over a payload: Rekor's hashedrekord 0.0.1.
func (s *Sigstore) hashed(t testing.TB, payload []byte, sig string, by pem.Block, o Options) *protorekor.TransparencyLogEntry {
	t.Helper()
	sum := sha256.Sum256(payload)
	return s.promised(t, canonical(t, object{
		"apiVersion": "0.0.1", "kind": "hashedrekord",
		"spec": object{
			"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}},
			"signature": object{"content": sig, "publicKey": object{"content": pem.EncodeToMemory(&by)}},
		},
	}), "hashedrekord", 1, o)
}

// promise keeps what cosign 2 keeps of an entry.
func (s *Sigstore) promise(t testing.TB, l evidence.Layer, e *protorekor.TransparencyLogEntry) {
	t.Helper()
	l.Annotations["dev.sigstore.cosign/bundle"] = string(canonical(t, object{
		"SignedEntryTimestamp": e.GetInclusionPromise().GetSignedEntryTimestamp(),
		"Payload": object{"body": e.GetCanonicalizedBody(), "integratedTime": e.GetIntegratedTime(),
			"logIndex": e.GetLogIndex(), "logID": hex.EncodeToString(e.GetLogId().GetKeyId())},
	}))
}
