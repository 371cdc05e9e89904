package steps_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// object is a JSON object in a test.
type object = map[string]any

// TestLayoutMalformed: a layout that is none, or that two readers could take for
// two layouts, is refused though its signature is right.
func TestLayoutMalformed(t *testing.T) {
	const malformed = reason.InTotoLayoutMalformed
	key := func(l object, id string) object { return l["keys"].(object)[id].(object) }
	rule := func(words ...any) func(*scene, object) {
		return func(_ *scene, l object) { step(l, "build")["expected_products"] = []any{words, []any{"DISALLOW", "*"}} }
	}
	pattern := func(p string) func(*scene, object) { return rule("ALLOW", p) }
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(s *scene, l object){
		"unknown member":       func(_ *scene, l object) { l["extra"] = 1 },
		"unknown in a step":    func(_ *scene, l object) { step(l, "build")["extra"] = 1 },
		"another type":         func(_ *scene, l object) { l["_type"] = "layouts" },
		"a link":               func(_ *scene, l object) { clear(l); maps.Copy(l, verifytest.Link("fetch", nil, nil)) },
		"expires":              func(_ *scene, l object) { l["expires"] = "2030-01-31" },
		"expires in a zone":    func(_ *scene, l object) { l["expires"] = "2030-01-31T00:00:00+02:00" },
		"a step twice":         func(_ *scene, l object) { l["steps"] = append(l["steps"].([]any), step(l, "build")) },
		"a step of no type":    func(_ *scene, l object) { delete(step(l, "build"), "_type") },
		"a step without name":  func(_ *scene, l object) { step(l, "build")["name"] = "" },
		"a step that is above": func(_ *scene, l object) { step(l, "build")["name"] = "../build" },
		"a step that bleeps":   func(_ *scene, l object) { step(l, "build")["name"] = "build\a" },
		"pubkey of nobody":     func(_ *scene, l object) { step(l, "build")["pubkeys"] = []any{strings.Repeat("0", 64)} },
		"key id of another":    func(s *scene, l object) { key(l, s.alice.ID)["keyid"] = s.bob.ID },
		"key id in capitals": func(s *scene, l object) {
			id := strings.Repeat("AB", 32)
			l["keys"].(object)[id] = s.alice.As(id).Entry()
		},
		"private key": func(s *scene, l object) { key(l, s.alice.ID)["keyval"].(object)["private"] = "00" },
		"certificate": func(s *scene, l object) { key(l, s.alice.ID)["keyval"].(object)["certificate"] = "x" },
		"key of few bits": func(_ *scene, l object) {
			f := verifytest.NewFunctionary(t, weak)
			l["keys"].(object)[f.ID] = f.Entry()
		},
		"key of no type":   func(s *scene, l object) { key(l, s.alice.ID)["keytype"] = "gpg" },
		"key of a type":    func(s *scene, l object) { key(l, s.alice.ID)["keytype"] = "rsa" },
		"key of a scheme":  func(s *scene, l object) { key(l, s.alice.ID)["scheme"] = "rsassa-pss-sha256" },
		"key that is none": func(s *scene, l object) { key(l, s.alice.ID)["keyval"] = object{"public": "x"} },
		"short ed25519": func(s *scene, l object) {
			maps.Copy(key(l, s.alice.ID), object{"keytype": "ed25519", "scheme": "ed25519", "keyval": object{"public": "abcd"}})
		},
		"empty rule":           rule(),
		"rule of no kind":      rule("PERMIT", "*"),
		"rule of three":        rule("ALLOW", "*", "*"),
		"match of nothing":     rule("MATCH", "*", "WITH", "SECRETS", "FROM", "fetch"),
		"match of no step":     rule("MATCH", "*", "WITH", "PRODUCTS", "FROM", "other"),
		"match in nothing":     rule("MATCH", "*", "IN", "", "WITH", "PRODUCTS", "FROM", "fetch"),
		"match in here":        rule("MATCH", "*", "IN", ".", "WITH", "PRODUCTS", "FROM", "fetch"),
		"match in a detour":    rule("MATCH", "*", "WITH", "PRODUCTS", "IN", "a/../b", "FROM", "fetch"),
		"pattern empty":        pattern(""),
		"pattern unclean":      pattern("src/./a"),
		"pattern above":        pattern("src/../[x"),
		"pattern of a folder":  pattern("src/"),
		"class open":           pattern("src/[a"),
		"class open at all":    pattern("["),
		"class empty":          pattern("[]"),
		"class not of nothing": pattern("[!]"),
		"class of a dash":      pattern("[-a]"),
		"class to nothing":     pattern("[a-]"),
		"class of a backslash": pattern(`[\`),
		"backslash at the end": pattern(`src\`),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.layout = func(l object) { spoil(s, l) }
			s.refused(t, malformed)
		})
	}
	for name, p := range map[string]string{"class": "[abc]*", "class not": "[!a-z]", "class of a bracket": `[\]]`, "class of brackets": "[[*]", "words": `a\*?ü`} {
		s := newScene(t)
		s.layout = func(l object) { pattern(p)(s, l) }
		if e := s.refused(t, reason.InTotoArtifactRule); e == nil {
			t.Error(name)
		}
	}
}

// TestLayoutBytes: the same of a layout's bytes.
func TestLayoutBytes(t *testing.T) {
	s := newScene(t)
	good := string(s.files(t).Layout)
	s.form = verifytest.InTotoEnvelope
	envelope := string(s.files(t).Layout)
	deep := `{"signed":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `,"signatures":[]}`
	signature := good[strings.Index(good, `[{"keyid"`)+1 : strings.Index(good, `],"signed"`)]
	for _, c := range []struct {
		name, raw string
		want      reason.Code
	}{
		{"nothing", "", reason.JSONMalformed},
		{"cut short", good[:len(good)-1], reason.JSONMalformed},
		{"null", "null", reason.InTotoLayoutMalformed},
		{"a list", "[]", reason.JSONMalformed},
		{"two", good + good, reason.JSONTrailing},
		{"not UTF-8", strings.Replace(good, "make", "m\xffke", 1), reason.JSONMalformed},
		{"deep", deep, reason.JSONDeep},
		{"a member twice", strings.Replace(good, `"steps":`, `"steps":[],"steps":`, 1), reason.JSONDuplicateKey},
		{"a member in capitals", strings.Replace(good, `"inspect":[]`, `"inspect":[],"Inspect":[]`, 1), reason.JSONVariantKey},
		{"the only one in capitals", strings.Replace(good, `"steps":`, `"Steps":`, 1), reason.JSONVariantKey},
		{"a threshold in quotes", strings.Replace(good, `"threshold":2`, `"threshold":"2"`, 1), reason.JSONMalformed},
		{"a signed and a payload", strings.Replace(good, `"signed":`, `"payload":"e30=","payloadType":"application/vnd.in-toto+json","signed":`, 1), reason.InTotoLayoutMalformed},
		{"an unknown member", strings.Replace(good, `"signed":`, `"extra":1,"signed":`, 1), reason.InTotoLayoutMalformed},
		{"two signatures by one", strings.Replace(good, `"signatures":[`, `"signatures":[`+signature+",", 1), reason.InTotoLayoutMalformed},
		{"signature in base64", strings.Replace(good, `"sig":"`, `"sig":"==`, 1), reason.InTotoLayoutMalformed},
		{"signature by no key id", strings.Replace(good, `[{"keyid":"`+s.owner.ID, `[{"keyid":"`, 1), reason.InTotoLayoutMalformed},
		{"another payload type", strings.Replace(envelope, "vnd.in-toto", "vnd.other", 1), reason.InTotoLayoutMalformed},
		{"payload no base64", strings.Replace(envelope, `"payload":"`, `"payload":"*`, 1), reason.InTotoLayoutMalformed},
		{"too long", good + strings.Repeat(" ", 4<<20), reason.InTotoLayoutMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := steps.Check(steps.Files{Layout: []byte(c.raw), Links: s.links}, []trust.Key{s.key}, now)
			if e, ok := reason.Of(err); !ok || e.Code != c.want || !o.Zero() {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// TestLinkMalformed: a link of a step that is none, or that two readers could take
// for two links, is refused though its signature is right, and whatever other
// links there are.
func TestLinkMalformed(t *testing.T) {
	many := object{}
	for i := range 65537 {
		many[fmt.Sprint(i)] = object{"sha256": sum("")}
	}
	for name, spoil := range map[string]func(l object){
		"unknown member":     func(l object) { l["extra"] = 1 },
		"another type":       func(l object) { l["_type"] = "links" },
		"no name":            func(l object) { delete(l, "name") },
		"unclean path":       func(l object) { l["products"].(object)["./image.json"] = object{"sha256": sum("")} },
		"empty path":         func(l object) { l["products"].(object)[""] = object{"sha256": sum("")} },
		"path that bleeps":   func(l object) { l["products"].(object)["a\x1b[2J"] = object{"sha256": sum("")} },
		"path that turns":    func(l object) { l["products"].(object)["a\u202eb"] = object{"sha256": sum("")} },
		"no hash":            func(l object) { l["products"].(object)["x"] = object{} },
		"null hash":          func(l object) { l["products"].(object)["x"] = nil },
		"sha512 alone":       func(l object) { l["products"].(object)["x"] = object{"sha512": sum("") + sum("")} },
		"short hash":         func(l object) { l["products"].(object)["x"] = object{"sha256": "ab"} },
		"hash in capitals":   func(l object) { l["products"].(object)["x"] = object{"sha256": strings.Repeat("AB", 32)} },
		"more than are read": func(l object) { l["products"] = many },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.build.Threshold = 1
			l := verifytest.Link("build", sums("src/a.c", "src/b.c"), sums("src/a.c", "image.json"))
			spoil(l)
			s.links[verifytest.LinkFile("build", s.bob, ".link")] = s.form(t, l, s.bob)
			s.refused(t, reason.InTotoLinkMalformed)
		})
	}
	s := newScene(t)
	file := verifytest.LinkFile("build", s.bob, ".link")
	s.links[file] = []byte(strings.Replace(string(s.links[file]), `"products":`, `"products":{},"products":`, 1))
	s.refused(t, reason.JSONDuplicateKey)
	s.links[file] = []byte(strings.Replace(string(s.links[file]), `"products":{},"products":`, `"products":[],"products2":`, 1))
	s.refused(t, reason.JSONMalformed)

	s = newScene(t) // no materials, in the words of another writer
	l := verifytest.Link("fetch", nil, sums("src/a.c", "src/b.c"))
	l["materials"] = nil
	s.links[verifytest.LinkFile("fetch", s.alice, ".link")] = s.form(t, l, s.alice)
	s.good(t)
}
