package model

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

var now = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

// signer makes signatures of any shape, right ones and wrong ones, with the
// standard library alone.
type signer struct {
	private *ecdsa.PrivateKey
	key     trust.Key
	hint    string
}

func newSigner(t *testing.T, curve elliptic.Curve) signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(key.PEM())
	return signer{private, key, hex.EncodeToString(sum[:])}
}

func (s signer) root() trust.Root { return trust.Root{}.With(s.key) }

func (s signer) sign(t *testing.T, payload []byte) []byte {
	t.Helper()
	pae := fmt.Appendf(nil, "DSSEv1 28 application/vnd.in-toto+json %d %s", len(payload), payload)
	var sum []byte
	switch s.private.Curve {
	case elliptic.P256():
		h := sha256.Sum256(pae)
		sum = h[:]
	case elliptic.P384():
		h := sha512.Sum384(pae)
		sum = h[:]
	default:
		h := sha512.Sum512(pae)
		sum = h[:]
	}
	sig, err := ecdsa.SignASN1(rand.Reader, s.private, sum)
	if err != nil {
		t.Fatal(err)
	}
	return s.bundle(t, payload, sig)
}

type obj = map[string]any

func (s signer) bundle(t *testing.T, payload []byte, sigs ...[]byte) []byte {
	t.Helper()
	var list []obj
	for _, sig := range sigs {
		list = append(list, obj{"sig": sig, "keyid": ""})
	}
	return mustJSON(t, obj{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": obj{"publicKey": obj{"hint": s.hint}, "tlogEntries": []any{}},
		"dsseEnvelope":         obj{"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": list},
	})
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// statement is a right one; tests change it before it is signed.
func statement(files map[string]string, order ...string) obj {
	root := sha256.New()
	resources := []any{}
	for _, name := range order {
		sum := sha256.Sum256([]byte(files[name]))
		root.Write(sum[:])
		resources = append(resources, obj{"name": name, "algorithm": "sha256", "digest": hex.EncodeToString(sum[:])})
	}
	return obj{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{obj{"name": "m", "digest": obj{"sha256": hex.EncodeToString(root.Sum(nil))}}},
		"predicateType": "https://model_signing/signature/v1.0",
		"predicate": obj{
			"resources": resources,
			"serialization": obj{"method": "files", "hash_type": "sha256", "allow_symlinks": false,
				"ignore_paths": []any{".git", "model.sig", "notes"}},
		},
	}
}

// small is the model of most tests.
var small = map[string]string{"config.json": "{}", "onnx/model.onnx": "weights", "onnx-fp16/model.onnx": "half the weights", "żółw 漢.bin": ""}

var smallOrder = []string{"config.json", "onnx-fp16/model.onnx", "onnx/model.onnx", "żółw 漢.bin"}

// write makes a folder of files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		put(t, filepath.Join(dir, name), data)
	}
	return dir
}

func put(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func ref(t *testing.T, path string) artifact.Reference {
	t.Helper()
	r, err := artifact.Parse("model:" + path)
	if err != nil {
		t.Fatal(err)
	}
	return r.Named("models/small")
}

func sum(s string) digest.Digest { return digest.FromString(s) }
