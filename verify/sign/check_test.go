package sign_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/sign"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// newKey is one key for all tests, as its signer and its verifier see it. Its
// passphrase is empty.
func newKey(t *testing.T) (sign.Key, trust.Key) {
	t.Helper()
	private, err := opened()
	if err != nil {
		t.Fatal(err)
	}
	public, err := trust.ParseKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

var opened = sync.OnceValues(func() (sign.Key, error) {
	p, err := sign.Generate(nil)
	if err != nil {
		return sign.Key{}, err
	}
	return sign.Load(p.Private, nil)
})

// check proves what was signed, as anybody would.
func check(t *testing.T, raw []byte, by trust.Key, d digest.Digest) evidence.Claim {
	t.Helper()
	e, err := evidence.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c, err := evidence.Check(e, trust.Root{}.With(by), []digest.Digest{d}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// payload is the statement inside a bundle.
func payload(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b struct {
		DsseEnvelope struct{ Payload []byte } `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	return b.DsseEnvelope.Payload
}

func TestImage(t *testing.T) {
	k, public := newKey(t)
	d := digest.FromString("manifest")
	raw, err := sign.Image(k, d, "")
	if err != nil {
		t.Fatal(err)
	}
	if c := check(t, raw, public, d); c.PredicateType() != evidence.PredicateCosignSign || c.Signer().Key != public.ID() || string(c.Predicate()) != "{}" {
		t.Errorf("claims %s %s by %s", c.PredicateType(), c.Predicate(), c.Signer())
	}
	st := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + d.Encoded() +
		`"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`
	var b struct {
		DsseEnvelope struct {
			Signatures []struct{ Sig string }
		} `json:"dsseEnvelope"`
		VerificationMaterial struct {
			PublicKey struct{ Hint string }
		}
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	hint := b.VerificationMaterial.PublicKey.Hint
	if named, _ := public.Named(hint); !named || len(hint) != 44 {
		t.Errorf("hint %q", hint)
	}
	want := `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"` + hint +
		`"}},"dsseEnvelope":{"payload":"` + base64.StdEncoding.EncodeToString([]byte(st)) +
		`","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"` + b.DsseEnvelope.Signatures[0].Sig + `"}]}}`
	if string(raw) != want {
		t.Errorf("writes\n%s\nwant\n%s", raw, want)
	}
}

func TestModel(t *testing.T) {
	k, public := newKey(t)
	a, b := digest.FromString("a"), digest.FromString("b")
	// "a/x" and "a-b/x": code points order them as no path sort would.
	raw, err := sign.Model(k, "small", []sign.File{{Name: "a/x", SHA256: a}, {Name: "a-b/x", SHA256: b}}, "model.sig", ".git")
	if err != nil {
		t.Fatal(err)
	}
	sum := digest.FromBytes(append(decodeHex(t, b), decodeHex(t, a)...))
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"small","digest":{"sha256":"` + sum.Encoded() + `"}}],` +
		`"predicateType":"https://model_signing/signature/v1.0","predicate":{` +
		`"serialization":{"method":"files","hash_type":"sha256","allow_symlinks":false,"ignore_paths":["model.sig",".git"]},` +
		`"resources":[{"name":"a-b/x","digest":"` + b.Encoded() + `","algorithm":"sha256"},{"name":"a/x","digest":"` + a.Encoded() + `","algorithm":"sha256"}]}}`
	if got := string(payload(t, raw)); got != want {
		t.Errorf("writes\n%s\nwant\n%s", got, want)
	}
	if c := check(t, raw, public, sum); c.PredicateType() != evidence.PredicateModelSignature {
		t.Errorf("claims %s", c.PredicateType())
	}
}

// TestModelVector signs the same model as the reference implementation did:
// apart from key and signature the two must say the same.
func TestModelVector(t *testing.T) {
	dir := verifytest.Vectors(t, "model-signing")
	if dir == "" {
		return
	}
	dir = filepath.Join(dir, "v1.1.0-elliptic-key")
	reference, err := os.ReadFile(filepath.Join(dir, "model.sig"))
	if err != nil {
		t.Fatal(err)
	}
	var files []sign.File
	for _, name := range []string{"signme-2", "signme-1"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, sign.File{Name: name, SHA256: digest.FromBytes(raw)})
	}
	k, _ := newKey(t)
	raw, err := sign.Model(k, "v1.1.0-elliptic-key", files, ".git", ".gitattributes", ".github", ".gitignore", "ignore-me", "model.sig")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := said(t, raw), said(t, reference); !reflect.DeepEqual(got, want) {
		t.Errorf("says\n%v\nthe reference says\n%v", got, want)
	}
}

// said is a model statement, its ignored paths in order: they are a set.
func said(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var st map[string]any
	if err := json.Unmarshal(payload(t, raw), &st); err != nil {
		t.Fatal(err)
	}
	serialization := st["predicate"].(map[string]any)["serialization"].(map[string]any)
	slices.SortFunc(serialization["ignore_paths"].([]any), func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	return st
}

func decodeHex(t *testing.T, d digest.Digest) []byte {
	t.Helper()
	sum, err := hex.DecodeString(d.Encoded())
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
