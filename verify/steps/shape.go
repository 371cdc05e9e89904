package steps

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/ztlaunch/ztlaunch/verify/trust"
)

const (
	maxSteps     = 256
	maxRules     = 512 // of a step
	maxKeys      = 1024
	maxArtifacts = 65536 // of a link, materials and products alike
	maxName      = 4096  // bytes
)

// layoutShape refuses what in-toto-golang would not read as it is written. What a
// layout demands is judged once somebody is known to have signed it.
func layoutShape(l in_toto.Layout) error {
	if _, err := time.Parse(in_toto.ISO8601DateSchema, l.Expires); err != nil {
		return fmt.Errorf("expires %.40q is no time such as 2030-01-31T00:00:00Z", l.Expires)
	}
	if len(l.Steps) > maxSteps || len(l.Keys) > maxKeys {
		return fmt.Errorf("%d steps and %d keys, at most %d and %d", len(l.Steps), len(l.Keys), maxSteps, maxKeys)
	}
	for id, k := range l.Keys {
		if id != k.KeyID || !keyID(id) {
			return fmt.Errorf("keys: %.80q is no key id in lower-case hex, or names another key", id)
		}
		if _, err := functionary(k); err != nil {
			return fmt.Errorf("keys: %s: %w", id, err)
		}
	}
	var names []string
	for i, s := range l.Steps {
		at := fmt.Sprintf("steps[%d]", i)
		switch {
		case s.Type != "step":
			return fmt.Errorf("%s: _type %.40q", at, s.Type)
		case !name(s.Name) || strings.ContainsAny(s.Name, "/\\") || len(s.Name) > 128:
			return fmt.Errorf("%s: %.80q is no name for a step", at, s.Name)
		case slices.Contains(names, s.Name):
			return fmt.Errorf("%s: a second step %s", at, s.Name)
		}
		names = append(names, s.Name)
		for _, id := range s.PubKeys {
			if _, ok := l.Keys[id]; !ok {
				return fmt.Errorf("%s: pubkeys names %.80q, which is none of keys", at, id)
			}
		}
	}
	for i, s := range l.Steps {
		if len(s.ExpectedMaterials)+len(s.ExpectedProducts) > maxRules {
			return fmt.Errorf("steps[%d]: more than %d rules", i, maxRules)
		}
		for _, rule := range slices.Concat(s.ExpectedMaterials, s.ExpectedProducts) {
			if err := ruleShape(rule, names); err != nil {
				return fmt.Errorf("steps[%d]: rule %.200q: %w", i, rule, err)
			}
		}
	}
	return nil
}

// functionary is the key that an entry of keys stands for. Its key type and
// scheme must be those of the key: the signature is proved by the key alone.
func functionary(k in_toto.Key) (trust.Key, error) {
	if k.KeyVal.Private != "" || k.KeyVal.Certificate != "" {
		return trust.Key{}, errors.New("a private key, or a certificate")
	}
	var key trust.Key
	var err error
	schemes := []string{"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"}
	if k.KeyType == "ed25519" {
		schemes = []string{"ed25519"}
		raw, bad := hex.DecodeString(k.KeyVal.Public)
		if bad != nil || len(raw) != ed25519.PublicKeySize {
			return trust.Key{}, errors.New("no Ed25519 key in hex")
		}
		key, err = trust.NewKey(ed25519.PublicKey(raw))
	} else {
		key, err = trust.ParseKey([]byte(k.KeyVal.Public))
	}
	if err != nil {
		return trust.Key{}, err
	}
	if k.KeyType == "rsa" {
		schemes = []string{"rsassa-pss-sha256"}
	}
	if kind := material(key).KeyType; kind != k.KeyType || !slices.Contains(schemes, k.Scheme) {
		return trust.Key{}, fmt.Errorf("key type %.20q and scheme %.40q of an %s key", k.KeyType, k.Scheme, kind)
	}
	return key, nil
}

// ruleShape holds one rule to in-toto's grammar. in-toto-golang crashes on an
// empty rule, lets an unknown kind of artifact match nothing, and takes a pattern
// that does not parse as one that matches nothing, after printing so.
func ruleShape(rule, steps []string) error {
	if len(rule) == 0 || slices.Contains(rule, "") {
		return errors.New("an empty word, or none")
	}
	r, err := in_toto.UnpackRule(rule)
	if err != nil {
		return errors.New("not in in-toto's grammar")
	}
	if !name(r["pattern"]) || path.Clean(r["pattern"]) != r["pattern"] || !pattern(r["pattern"]) {
		return errors.New("no pattern")
	}
	if r["type"] != "match" {
		return nil
	}
	for _, prefix := range []string{r["srcPrefix"], r["dstPrefix"]} {
		if prefix != "" && (!name(prefix) || path.Clean(prefix) != strings.TrimSuffix(prefix, "/") || prefix == ".") {
			return errors.New("no folder after IN")
		}
	}
	if r["dstType"] != "materials" && r["dstType"] != "products" {
		return errors.New("neither MATERIALS nor PRODUCTS")
	}
	if !slices.Contains(steps, r["dstName"]) {
		return errors.New("no such step")
	}
	return nil
}

// pattern says whether in-toto-golang can parse a pattern: "*", "?", "\c" and
// classes "[abc]", "[!a-z]".
func pattern(p string) bool {
	// one takes a rune of a class, which something must follow.
	one := func() bool {
		if p == "" || p[0] == '-' || p[0] == ']' {
			return false
		}
		if p[0] == '\\' {
			if p = p[1:]; p == "" {
				return false
			}
		}
		_, n := utf8.DecodeRuneInString(p)
		p = p[n:]
		return p != ""
	}
	for p != "" {
		c := p[0]
		p = p[1:]
		switch c {
		case '\\':
			if p == "" {
				return false
			}
			p = p[1:]
		case '[':
			p = strings.TrimPrefix(p, "!")
			for n := 0; n == 0 || p[0] != ']'; n++ {
				if !one() {
					return false
				}
				if p[0] == '-' {
					if p = p[1:]; !one() {
						return false
					}
				}
			}
			p = p[1:]
		}
	}
	return true
}

// linkShape refuses what two readers could take for different sets of artifacts.
func linkShape(l in_toto.Link) error {
	if !name(l.Name) {
		return fmt.Errorf("%.80q is no name for a step", l.Name)
	}
	if len(l.Materials)+len(l.Products) > maxArtifacts {
		return fmt.Errorf("more than %d artifacts", maxArtifacts)
	}
	for _, all := range []map[string]in_toto.HashObj{l.Materials, l.Products} {
		for p, sums := range all {
			if !name(p) || path.Clean(p) != p {
				return fmt.Errorf("%.200q is no clean path", p)
			}
			if len(sums) > 16 {
				return fmt.Errorf("%.200q has more than 16 hashes", p)
			}
			for algorithm, sum := range sums {
				if _, err := hex.DecodeString(sum); err != nil || strings.ToLower(sum) != sum {
					return fmt.Errorf("%.200q: %.20q is no lower-case hex", p, algorithm)
				}
			}
			if len(sums["sha256"]) != 64 {
				return fmt.Errorf("%.200q has no sha256", p)
			}
		}
	}
	return nil
}

// name says whether a text can be shown as it is, and is not empty or endless.
func name(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == utf8.RuneError })
}
