package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

var passphrase = []byte("correct horse")

// shared is one key for all tests: sealing and opening take a while.
var shared = sync.OnceValues(func() (kp struct {
	Pair
	Key
}, err error) {
	if kp.Pair, err = Generate(passphrase); err == nil {
		kp.Key, err = Load(kp.Private, passphrase)
	}
	return kp, err
})

func pair(t *testing.T) (Pair, Key) {
	t.Helper()
	kp, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return kp.Pair, kp.Key
}

func TestGenerate(t *testing.T) {
	p, k := pair(t)
	if !strings.HasPrefix(string(p.Private), "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n") {
		t.Errorf("private half starts %.40q", p.Private)
	}
	if !bytes.Equal(k.Public(), p.Public) {
		t.Error("the private half has another public half")
	}
	legacy := bytes.ReplaceAll(p.Private, []byte("SIGSTORE"), []byte("COSIGN"))
	if old, err := Load(legacy, passphrase); err != nil || !bytes.Equal(old.Public(), p.Public) {
		t.Errorf("the legacy header is refused: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	p, _ := pair(t)
	plain, _ := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	cases := map[string]struct {
		raw  []byte
		pass string
		code reason.Code
	}{
		"passphrase": {p.Private, "wrong", reason.SignKeyPassphrase},
		"plain":      {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: plain}), "", reason.SignKeyType},
		"public":     {p.Public, "", reason.SignKeyType},
		"empty":      {nil, "", reason.SignKeyMalformed},
		"two":        {append(bytes.Clone(p.Private), p.Private...), string(passphrase), reason.SignKeyMalformed},
		"not sealed": {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: plain}), "", reason.SignKeyMalformed},
		"too large":  {bytes.Repeat([]byte("x"), maxKeySize+1), "", reason.SignKeyMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			k, err := Load(c.raw, []byte(c.pass))
			if code(err) != c.code || !k.Zero() {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

func TestStatement(t *testing.T) {
	d := digest.FromString("x")
	// Members, their order and their numbers stay: re-encoding would lose them.
	predicate := `{ "z": 1.0, "a": 12345678901234567890, "html": "<&>" }`
	st, err := Statement("https://example.com/p", json.RawMessage(predicate), "registry.example/a", d, digest.FromString("y"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[` +
		`{"name":"registry.example/a","digest":{"sha256":"` + d.Encoded() + `"}},` +
		`{"name":"registry.example/a","digest":{"sha256":"` + digest.FromString("y").Encoded() + `"}}],` +
		`"predicateType":"https://example.com/p","predicate":{"z":1.0,"a":12345678901234567890,"html":"<&>"}}`
	if string(st) != want {
		t.Errorf("writes\n%s\nwant\n%s", st, want)
	}
	for name, f := range map[string]func() ([]byte, error){
		"no subject": func() ([]byte, error) { return Statement("t", json.RawMessage("{}"), "") },
		"no type":    func() ([]byte, error) { return Statement("", json.RawMessage("{}"), "", d) },
		"sha512": func() ([]byte, error) {
			return Statement("t", json.RawMessage("{}"), "", digest.SHA512.FromString("x"))
		},
		"no digest":    func() ([]byte, error) { return Statement("t", json.RawMessage("{}"), "", "") },
		"no predicate": func() ([]byte, error) { return Statement("t", json.RawMessage("{"), "", d) },
	} {
		if st, err := f(); err == nil {
			t.Errorf("%s: writes %s", name, st)
		}
	}
}

func TestPredicateType(t *testing.T) {
	for word, want := range map[string]string{
		"spdxjson":                      "https://spdx.dev/Document",
		"spdx":                          "https://spdx.dev/Document",
		"cyclonedx":                     "https://cyclonedx.org/bom",
		"slsaprovenance1":               "https://slsa.dev/provenance/v1",
		"slsaprovenance":                "https://slsa.dev/provenance/v0.2",
		"slsaprovenance02":              "https://slsa.dev/provenance/v0.2",
		"vuln":                          "https://cosign.sigstore.dev/attestation/vuln/v1",
		"openvex":                       "https://openvex.dev/ns",
		"link":                          "https://in-toto.io/Link/v1",
		"custom":                        "https://cosign.sigstore.dev/attestation/v1",
		"https://example.com/predicate": "https://example.com/predicate",
		"urn:example:predicate":         "urn:example:predicate",
	} {
		if got, err := PredicateType(word); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", word, got, err, want)
		}
	}
	for _, word := range []string{"", "sbom", "SPDX", "/p", "http://"} {
		if got, err := PredicateType(word); code(err) != reason.SignPredicateType {
			t.Errorf("%q: %q %v, want %s", word, got, err, reason.SignPredicateType)
		}
	}
}

func TestZeroKey(t *testing.T) {
	if b, err := Sign(Key{}, []byte("{}")); err == nil {
		t.Errorf("the zero key signs %s", b)
	}
	_, k := pair(t)
	if b, err := Sign(k, []byte("{")); err == nil {
		t.Errorf("signs what is no JSON: %s", b)
	}
}

func TestModelRefuses(t *testing.T) {
	_, k := pair(t)
	d := digest.FromString("x")
	for name, files := range map[string][]File{
		"none":     nil,
		"parent":   {{"../x", d}},
		"absolute": {{"/x", d}},
		"dot":      {{".", d}},
		"empty":    {{"", d}},
		"slash":    {{"a/", d}},
		"nul":      {{"a\x00b", d}},
		"twice":    {{"a", d}, {"a", d}},
		"digest":   {{"a", ""}},
		"sha512":   {{"a", digest.SHA512.FromString("x")}},
	} {
		if b, err := Model(k, "m", files); err == nil {
			t.Errorf("%s: signs %s", name, b)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if k, err := Load(raw, nil); err != nil && (code(err) == "" || !k.Zero()) {
			t.Fatalf("refused without a reason, or with a key: %v", err)
		}
	})
}

func code(err error) reason.Code {
	if e, ok := reason.Of(err); ok {
		return e.Code
	}
	return ""
}
