package policy

import (
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
)

// TestDeniedSignerIs: a feed's entry names somebody by a key, or by the name that one
// issuer or one private authority certified, and nobody else.
func TestDeniedSignerIs(t *testing.T) {
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	for _, c := range []struct {
		name string
		d    deniedSigner
		s    evidence.Signer
		want bool
	}{
		{"key", deniedSigner{key: a}, evidence.Signer{Key: a}, true},
		{"other-key", deniedSigner{key: a}, evidence.Signer{Key: b}, false},
		{"key-of-a-certificate", deniedSigner{key: a}, evidence.Signer{Issuer: "https://i", SAN: "x"}, false},
		{"issuer", deniedSigner{issuer: "https://i", san: "x"}, evidence.Signer{Issuer: "https://i", SAN: "x"}, true},
		{"other-issuer", deniedSigner{issuer: "https://i", san: "x"}, evidence.Signer{Issuer: "https://j", SAN: "x"}, false},
		{"issuer-of-an-authority", deniedSigner{issuer: "https://i", san: "x"}, evidence.Signer{Authority: a, SAN: "x"}, false},
		{"authority", deniedSigner{authority: a, san: "x"}, evidence.Signer{Authority: a, SAN: "x"}, true},
		{"authority-pattern", deniedSigner{authority: a, san: "*@acme.example"}, evidence.Signer{Authority: a, SAN: "dev@acme.example"}, true},
		{"authority-pattern-other", deniedSigner{authority: a, san: "*@acme.example"}, evidence.Signer{Authority: b, SAN: "dev@acme.example"}, false},
		{"authority-pattern-not", deniedSigner{authority: a, san: "*@acme.example"}, evidence.Signer{Authority: a, SAN: "dev@acme.example.org"}, false},
		{"authority-other-name", deniedSigner{authority: a, san: "x"}, evidence.Signer{Authority: a, SAN: "y"}, false},
		{"authority-of-an-issuer", deniedSigner{authority: a, san: "x"}, evidence.Signer{Issuer: "https://i", SAN: "x"}, false},
	} {
		if got := c.d.is(c.s); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
