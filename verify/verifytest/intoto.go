package verifytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// Functionary is somebody who signs in-toto layouts and links.
type Functionary struct {
	ID      string
	private crypto.Signer
	entry   map[string]any
}

// Functionary is the key in in-toto's terms.
func (k Key) Functionary(t testing.TB) Functionary {
	t.Helper()
	return NewFunctionary(t, k.private)
}

// NewFunctionary takes an ECDSA, Ed25519 or RSA key.
func NewFunctionary(t testing.TB, k crypto.Signer) Functionary {
	t.Helper()
	public := strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: publicKey, Bytes: spki(t, k.Public())})))
	var kind, scheme string
	switch pub := k.Public().(type) {
	case *ecdsa.PublicKey:
		kind, scheme = "ecdsa", fmt.Sprintf("ecdsa-sha2-nistp%d", pub.Params().BitSize)
	case ed25519.PublicKey:
		kind, scheme, public = "ed25519", "ed25519", hex.EncodeToString(pub)
	case *rsa.PublicKey:
		kind, scheme = "rsa", "rsassa-pss-sha256"
	default:
		t.Fatalf("a key of type %T", pub)
	}
	f := Functionary{private: k, entry: map[string]any{"keytype": kind, "scheme": scheme,
		"keyid_hash_algorithms": []any{"sha256", "sha512"}, "keyval": map[string]any{"public": public}}}
	sum := sha256.Sum256(olpc(t, f.entry))
	return f.As(hex.EncodeToString(sum[:]))
}

// As is the same key under another key id.
func (f Functionary) As(id string) Functionary {
	f.ID, f.entry = id, maps.Clone(f.entry)
	return f
}

// Entry is the key as a layout lists it.
func (f Functionary) Entry() map[string]any {
	e := maps.Clone(f.entry)
	e["keyid"] = f.ID
	return e
}

func (f Functionary) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	hash, options := crypto.SHA256, crypto.SignerOpts(crypto.SHA256)
	switch k := f.private.Public().(type) {
	case *ecdsa.PublicKey:
		switch k.Params().BitSize {
		case 384:
			hash = crypto.SHA384
		case 521:
			hash = crypto.SHA512
		}
		options = hash
	case ed25519.PublicKey:
		hash, options = 0, crypto.Hash(0)
	case *rsa.PublicKey:
		options = &rsa.PSSOptions{SaltLength: sha256.Size, Hash: crypto.SHA256}
	}
	if hash != 0 {
		h := hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	sig, err := f.private.Sign(rand.Reader, message, options)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// Metablock is a layout or link in in-toto's own form.
func Metablock(t testing.TB, signed any, by ...Functionary) []byte {
	t.Helper()
	message := olpc(t, signed)
	signatures := []any{}
	for _, f := range by {
		signatures = append(signatures, map[string]any{"keyid": f.ID, "sig": hex.EncodeToString(f.sign(t, message))})
	}
	return marshal(t, map[string]any{"signed": signed, "signatures": signatures})
}

// InTotoEnvelope is a layout or link in a DSSE envelope.
func InTotoEnvelope(t testing.TB, payload any, by ...Functionary) []byte {
	t.Helper()
	const kind = "application/vnd.in-toto+json"
	raw := marshal(t, payload)
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(raw), raw)
	signatures := []any{}
	for _, f := range by {
		signatures = append(signatures, map[string]any{"keyid": f.ID, "sig": base64.StdEncoding.EncodeToString(f.sign(t, message))})
	}
	return marshal(t, map[string]any{"payloadType": kind, "payload": base64.StdEncoding.EncodeToString(raw), "signatures": signatures})
}

// Layout is an in-toto layout of some steps.
func Layout(until time.Time, steps ...Step) map[string]any {
	keys, list := map[string]any{}, []any{}
	for _, s := range steps {
		ids := []any{}
		for _, f := range s.By {
			keys[f.ID] = f.Entry()
			ids = append(ids, f.ID)
		}
		list = append(list, map[string]any{"_type": "step", "name": s.Name, "threshold": s.Threshold, "pubkeys": ids,
			"expected_command": []any{"make", s.Name}, "expected_materials": rules(s.Materials), "expected_products": rules(s.Products)})
	}
	return map[string]any{"_type": "layout", "expires": until.UTC().Format("2006-01-02T15:04:05Z"), "readme": "", "inspect": []any{}, "keys": keys, "steps": list}
}

// Step is one step of a layout. Each rule is one line of words.
type Step struct {
	Name                string
	By                  []Functionary
	Threshold           int
	Materials, Products []string
}

func rules(lines []string) []any {
	out := []any{}
	for _, line := range lines {
		rule := []any{}
		for word := range strings.FieldsSeq(line) {
			rule = append(rule, word)
		}
		out = append(out, rule)
	}
	return out
}

// Link is what a functionary reports of a step: names with their contents' sha256
// in hex.
func Link(step string, materials, products map[string]string) map[string]any {
	return map[string]any{"_type": "link", "name": step, "command": []any{"another", "command"}, "byproducts": map[string]any{"return-value": 0, "stdout": "<ok>\n"},
		"environment": map[string]any{}, "materials": hashes(materials), "products": hashes(products)}
}

func hashes(sums map[string]string) map[string]any {
	out := map[string]any{}
	for name, sum := range sums {
		out[name] = map[string]any{"sha256": sum}
	}
	return out
}

// LinkFile is the name of the file of a link, or with no extension of the folder of
// a sublayout's links.
func LinkFile(step string, by Functionary, extension string) string {
	return step + "." + by.ID[:8] + extension
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// olpc is OLPC canonical JSON: members sorted, nothing between tokens, and
// in texts only the quote and the backslash escaped.
func olpc(t testing.TB, v any) []byte {
	t.Helper()
	switch v := v.(type) {
	case nil:
		return []byte("null")
	case bool, int:
		return fmt.Append(nil, v)
	case string:
		return []byte(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`)
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, string(olpc(t, e)))
		}
		return []byte("[" + strings.Join(parts, ",") + "]")
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, string(olpc(t, k))+":"+string(olpc(t, v[k])))
		}
		return []byte("{" + strings.Join(parts, ",") + "}")
	}
	t.Fatalf("%T in canonical JSON", v)
	return nil
}
