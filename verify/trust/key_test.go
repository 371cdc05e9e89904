package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// testKey is one of a few fixed Ed25519 keys.
func testKey(t *testing.T, n byte) Key {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	k, err := NewKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ec(t *testing.T, curve elliptic.Curve) crypto.PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k.Public()
}

// modulus is an RSA public key of exactly so many bits. Nobody knows a private
// half, and parsing does not ask.
func modulus(bits uint) crypto.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
}

func pemOf(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestParseKey(t *testing.T) {
	for name, public := range map[string]crypto.PublicKey{
		"p256": ec(t, elliptic.P256()), "p384": ec(t, elliptic.P384()), "p521": ec(t, elliptic.P521()),
		"ed25519": testKey(t, 1).Public(), "rsa-2048": modulus(2048), "rsa-8192": modulus(8192),
	} {
		t.Run(name, func(t *testing.T) {
			raw := pemOf(t, public)
			k, err := ParseKey(append([]byte("Public Key Information:\n\tAlgorithm\n\n"), raw...))
			if err != nil {
				t.Fatal(err)
			}
			der, _ := x509.MarshalPKIXPublicKey(public)
			if sum := sha256.Sum256(der); k.ID() != "sha256:"+hex.EncodeToString(sum[:]) {
				t.Errorf("named %s", k.ID())
			}
			if !bytes.Equal(k.PEM(), raw) {
				t.Error("does not write what it read")
			}
		})
	}
}

func TestParseKeyRefuses(t *testing.T) {
	good := pemOf(t, testKey(t, 1).Public())
	private, _ := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	cases := map[string]struct {
		raw  []byte
		code reason.Code
	}{
		"empty":     {nil, reason.TrustKeyMalformed},
		"text":      {[]byte("key"), reason.TrustKeyMalformed},
		"two":       {append(bytes.Clone(good), good...), reason.TrustKeyMalformed},
		"after":     {append(bytes.Clone(good), "x"...), reason.TrustKeyMalformed},
		"broken":    {append([]byte("-----BEGIN PUBLIC KEY-----\n!\n"), good...), reason.TrustKeyMalformed},
		"headers":   {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Headers: map[string]string{"a": "b"}, Bytes: []byte{1}}), reason.TrustKeyMalformed},
		"private":   {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), reason.TrustKeyMalformed},
		"garbage":   {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("garbage")}), reason.TrustKeyMalformed},
		"too-large": {append(bytes.Clone(good), bytes.Repeat([]byte("\n"), MaxKeySize)...), reason.TrustKeyMalformed},
		"p224":      {pemOf(t, ec(t, elliptic.P224())), reason.TrustKeyUnsupported},
		"rsa-1024":  {pemOf(t, modulus(1024)), reason.TrustKeyWeak},
		"rsa-2047":  {pemOf(t, modulus(2047)), reason.TrustKeyWeak},
		"rsa-8193":  {pemOf(t, modulus(8193)), reason.TrustKeyUnsupported},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			k, err := ParseKey(c.raw)
			if code(err) != c.code || !k.Zero() {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

func TestWindow(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	until := from.AddDate(1, 0, 0)
	k := testKey(t, 1)
	for _, c := range []struct {
		key  Key
		at   time.Time
		want bool
	}{
		{k, time.Unix(0, 0), true},
		{k.Within(from, until), from, true},
		{k.Within(from, until), until, true},
		{k.Within(from, until), from.Add(-time.Nanosecond), false},
		{k.Within(from, until), until.Add(time.Nanosecond), false},
		{k.Within(from, time.Time{}), until.AddDate(9, 0, 0), true},
		{k.Within(time.Time{}, until), time.Unix(0, 0), true},
	} {
		if got := c.key.Valid(c.at); got != c.want {
			f, u := c.key.Window()
			t.Errorf("[%v, %v] at %v: %v", f, u, c.at, got)
		}
	}
}

func TestNamed(t *testing.T) {
	k, other := testKey(t, 1), testKey(t, 2)
	der, text := sha256.Sum256([]byte(k.der)), sha256.Sum256(k.PEM())
	for _, c := range []struct {
		hint        string
		named, name bool
	}{
		{base64.StdEncoding.EncodeToString(der[:]), true, true},
		{"SHA256:" + base64.StdEncoding.EncodeToString(der[:]), true, true},
		{hex.EncodeToString(der[:]), true, true},
		{k.ID(), true, true},
		{hex.EncodeToString(text[:]), true, true},
		{other.ID(), false, true},
		{base64.StdEncoding.EncodeToString(make([]byte, 32)), false, true},
		{"release-key", false, false},
		{"", false, false},
	} {
		named, name := k.Named(c.hint)
		if named != c.named || name != c.name {
			t.Errorf("%q: %v %v, want %v %v", c.hint, named, name, c.named, c.name)
		}
	}
	if named, _ := (Key{}).Named(hex.EncodeToString(sha256.New().Sum(nil))); named {
		t.Error("the zero key has a name")
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := ParseKey(raw)
		if err != nil {
			if code(err) == "" {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		again, err := ParseKey(k.PEM())
		if err != nil || again.ID() != k.ID() {
			t.Fatalf("does not read what it wrote: %v", err)
		}
	})
}

func TestSpell(t *testing.T) {
	sum := sha256.Sum256([]byte("a key"))
	want := "sha256:" + hex.EncodeToString(sum[:])
	in64 := base64.StdEncoding.EncodeToString(sum[:])
	for _, hint := range []string{want, want[7:], in64, "SHA256:" + in64} {
		if got := Spell(hint); got != want {
			t.Errorf("%q is %s", hint, got)
		}
	}
	for hint, want := range map[string]string{"": `""`, "release key": `"release key"`, "a\nb": `"a\nb"`} {
		if got := Spell(hint); got != want {
			t.Errorf("%q is %s", hint, got)
		}
	}
}
