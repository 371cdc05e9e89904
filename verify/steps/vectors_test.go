package steps_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// vector is one layout of in-toto-golang's test data, with one of its keys and its
// links, and how it ends.
type vector struct {
	name   string
	layout string // a file of the folder; or
	made   func(t *testing.T, v vectors) map[string]any
	key    string // whose key must have signed it; "" for a layout that the test signs
	at     time.Time
	links  func(v vectors) // changes the links of the folder
	of     string          // the layouts and links of the folder that it is about, besides layout
	want   reason.Code
	// products of a layout that passes, and who did its steps.
	products map[string]string
	did      []string
}

// vectors are the files of the folder by their names.
type vectors map[string][]byte

func (v vectors) key(t *testing.T, name string) trust.Key {
	t.Helper()
	k, err := trust.ParseKey(v[name+".pub"])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signed is what a file holds under signed.
func (v vectors) signed(t *testing.T, file string) map[string]any {
	t.Helper()
	var doc struct {
		Signed map[string]any `json:"signed"`
	}
	d := json.NewDecoder(strings.NewReader(string(v[file])))
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return whole(doc.Signed).(map[string]any)
}

// whole turns numbers, which are whole in these files, into ints.
func whole(v any) any {
	switch v := v.(type) {
	case float64:
		return int(v)
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	}
	return v
}

// closed is a layout of the folder without its inspections, and with rules that let
// nothing else pass.
func closed(file string) func(t *testing.T, v vectors) map[string]any {
	return func(t *testing.T, v vectors) map[string]any {
		t.Helper()
		l := v.signed(t, file)
		l["inspect"] = []any{}
		for _, s := range l["steps"].([]any) {
			s := s.(map[string]any)
			s["expected_products"] = append(s["expected_products"].([]any), []any{"DISALLOW", "*"})
		}
		return l
	}
}

// twice is one step named foo by two of the folder's keys.
func twice(threshold int) func(t *testing.T, v vectors) map[string]any {
	return func(t *testing.T, v vectors) map[string]any {
		t.Helper()
		l := v.signed(t, "demo.layout")
		l["inspect"] = []any{}
		l["steps"] = []any{map[string]any{"_type": "step", "name": "foo", "threshold": threshold, "expected_command": []any{},
			"pubkeys": []any{dan, packager}, "expected_materials": []any{}, "expected_products": []any{}}}
		return l
	}
}

// The key ids that the folder uses.
const (
	alice    = "70ca5750c2eda80b18f41f4ec5f92146789b5d68dd09577be422a0159bd13680"
	dan      = "b7d643dec0a051096ee5d87221b5d91a33daa658699d30903e1cefb90c418401"
	packager = "d3ffd1086938b3698618adf088bf14b13db4c8ae19e4e78d73da49ee88492710"
)

const (
	fooPy   = "74dc3727c6e89308b39e4dfedf787e37841198b1fa165a27c013544a60502549"
	fooTar  = "52947cb78b91ad01fe81cd6aef42d1f6817e92b9e6936c1e5aabb7c98514f355"
	demoTar = "0c5c56be1f4d8707fe981f07b0d35a4a1a50e898e3ebc8b1fa12c7c6f364bb7b"
)

// table decides every layout and every link of the folder.
func table() []vector {
	before := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC) // super.layout had not expired
	change := func(file, from, to string) func(v vectors) {
		return func(v vectors) { v[file] = []byte(strings.ReplaceAll(string(v[file]), from, to)) }
	}
	drop := func(file string) func(v vectors) { return func(v vectors) { delete(v, file) } }
	return []vector{
		{name: "dsse", of: "clone-dsse.776a00e2.link update-version-dsse.776a00e2.link package-dsse.2f89b927.link", layout: "dsse-only.root.layout", key: "alice", products: map[string]string{"demo-project.tar.gz": demoTar},
			did: []string{"clone-dsse", "update-version-dsse", "package-dsse"}},
		{name: "dsse at its last second", layout: "dsse-only.root.layout", key: "alice", at: time.Date(2030, 6, 3, 13, 25, 19, 0, time.UTC),
			products: map[string]string{"demo-project.tar.gz": demoTar}, did: []string{"clone-dsse", "update-version-dsse", "package-dsse"}},
		{name: "dsse expired", layout: "dsse-only.root.layout", key: "alice", at: time.Date(2030, 6, 3, 13, 25, 20, 0, time.UTC), want: reason.InTotoLayoutExpired},
		{name: "dsse by another", layout: "dsse-only.root.layout", key: "carol", want: reason.InTotoLayoutWrongSigner},
		{name: "dsse without a link", layout: "dsse-only.root.layout", key: "alice", links: drop("package-dsse.2f89b927.link"), want: reason.InTotoLinkAbsent},
		{name: "dsse with a link of another step", layout: "dsse-only.root.layout", key: "alice",
			links: func(v vectors) { v["update-version-dsse.776a00e2.link"] = v["clone-dsse.776a00e2.link"] }, want: reason.InTotoLinkName},
		{name: "dsse with a changed link", layout: "dsse-only.root.layout", key: "alice",
			links: change("clone-dsse.776a00e2.link", `"sig": "q`, `"sig": "r`), want: reason.InTotoLinkInvalid},

		{name: "demo", layout: "demo.layout", key: "alice", want: reason.InTotoInspection},
		{name: "demo by another", layout: "demo.layout", key: "grace", want: reason.InTotoLayoutWrongSigner},
		{name: "demo expired", layout: "demo.layout", key: "alice", at: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC), want: reason.InTotoLayoutExpired},
		{name: "demo in dsse", layout: "demo.dsse.layout", key: "alice", want: reason.InTotoInspection},
		{name: "demo in dsse by another", layout: "demo.dsse.layout", key: "frank", want: reason.InTotoLayoutWrongSigner},
		{name: "demo closed names a certificate", made: closed("demo.layout"), want: reason.InTotoCertificate},
		{name: "demo without inspection is open", made: func(t *testing.T, v vectors) map[string]any {
			l := v.signed(t, "sub_layout.70ca5750.link")
			l["inspect"] = []any{}
			return l
		}, want: reason.InTotoDisallow},

		{name: "super is unsigned", layout: "super.layout", key: "alice", at: before, want: reason.InTotoLayoutUnsigned},
		{name: "super expired", made: closed("super.layout"), want: reason.InTotoLayoutExpired},
		{name: "super inspects in its sublayout", made: closed("super.layout"), at: before, want: reason.InTotoInspection},
		{name: "super with a changed sublayout", made: closed("super.layout"), at: before,
			links: change("sub_layout.70ca5750.link", `"untar"`, `"Untar"`), want: reason.InTotoLinkInvalid},
		{name: "super with a sublayout of nobody", made: func(t *testing.T, v vectors) map[string]any {
			l := closed("super.layout")(t, v)
			l["keys"] = v.signed(t, "demo.layout")["keys"]
			step(l, "sub_layout")["pubkeys"] = []any{dan}
			return l
		}, at: before, want: reason.InTotoSublayoutUnauthorized},
		{name: "sub_layout alone", layout: "sub_layout.70ca5750.link", key: "alice", want: reason.InTotoInspection},
		{name: "sub_layout closed", of: "write-code.b7d643de.link package.d3ffd108.link", made: closed("sub_layout.70ca5750.link"), products: map[string]string{"foo.tar.gz": fooTar}, did: []string{"write-code", "package"}},
		{name: "sub_layout with a changed link", made: closed("sub_layout.70ca5750.link"), links: change("write-code.b7d643de.link", fooPy, fooTar), want: reason.InTotoLinkInvalid},

		{name: "foo by one of two", made: twice(1), links: drop("foo.b7d643de.link"), products: map[string]string{}, did: []string{"foo"}},
		{name: "foo by two", of: "foo.b7d643de.link foo.d3ffd108.link", made: twice(2), products: map[string]string{}, did: []string{"foo"}},
		{name: "foo by two and one absent", made: twice(2), links: drop("foo.d3ffd108.link"), want: reason.InTotoStepUnmet},
		{name: "foo by two and one of another step", made: twice(2), links: func(v vectors) { v["foo.d3ffd108.link"] = v["package.d3ffd108.link"] }, want: reason.InTotoStepUnmet},
		{name: "canonical-test as a layout", layout: "canonical-test.link", key: "alice", want: reason.InTotoLayoutMalformed},
		{name: "canonical-test as a link", of: "canonical-test.link", made: func(t *testing.T, v vectors) map[string]any {
			l := twice(1)(t, v)
			step(l, "foo")["name"] = "test"
			return l
		}, links: func(v vectors) { v["test.b7d643de.link"] = v["canonical-test.link"] }, want: reason.InTotoLinkInvalid},
	}
}

// TestInTotoVectors decides the layouts and links of in-toto-golang's own test
// data; each file of them stands in some case. What that library accepts and is
// refused here, it accepts by running a layout's commands or for want of rules.
func TestInTotoVectors(t *testing.T) {
	dir := verifytest.Vectors(t, "in-toto")
	if dir == "" {
		return
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := vectors{}
	open := map[string]bool{} // layouts and links that no case has read yet
	for _, e := range names {
		if all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
		if ext := filepath.Ext(e.Name()); ext == ".layout" || ext == ".link" {
			open[e.Name()] = true
		}
	}
	if len(open) != 13 {
		t.Fatalf("vectors: %d layouts and links", len(open))
	}
	for _, c := range table() {
		t.Run(c.name, func(t *testing.T) {
			v := vectors{}
			for name, raw := range all {
				v[name] = raw
			}
			if c.links != nil {
				c.links(v)
			}
			f := steps.Files{Layout: v[c.layout], Links: map[string][]byte{}}
			for name, raw := range v {
				if filepath.Ext(name) == ".link" {
					f.Links[name] = raw
					f.Links["sub_layout."+alice[:8]+"/"+name] = raw
				}
			}
			var key trust.Key
			if c.made != nil {
				owner, k := somebody(t)
				f.Layout, key = verifytest.Metablock(t, c.made(t, v), owner), k
			} else {
				key = v.key(t, c.key)
			}
			at := now
			if !c.at.IsZero() {
				at = c.at
			}
			o, err := steps.Check(f, []trust.Key{key}, at)
			if c.want != "" {
				if e, ok := reason.Of(err); !ok || e.Code != c.want || !o.Zero() {
					t.Fatalf("%v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var did []string
			for _, s := range o.Steps() {
				did = append(did, s.Name)
			}
			if !slices.Equal(did, c.did) || !slices.Equal(o.Signers(), []string{key.ID()}) || len(o.Products()) != len(c.products) {
				t.Errorf("%v did %v, which made %v", o.Signers(), did, o.Products())
			}
			for name, hex := range c.products {
				if o.Products()[name].Encoded() != hex {
					t.Errorf("%s is %s", name, o.Products()[name])
				}
			}
		})
		for _, name := range append(strings.Fields(c.of), c.layout) {
			delete(open, name)
		}
	}
	for name := range open {
		t.Errorf("%s is in no case", name)
	}
	bytes := sha256.Sum256(all["foo.tar.gz"])
	if hex.EncodeToString(bytes[:]) != fooTar {
		t.Error("foo.tar.gz is not what the links say")
	}
}

// TestInTotoKeys: of the folder's keys, those that package trust believes may sign;
// those on curves that it does not are refused.
func TestInTotoKeys(t *testing.T) {
	dir := verifytest.Vectors(t, "in-toto")
	if dir == "" {
		return
	}
	for name, want := range map[string]reason.Code{"alice": "", "carol": "", "dan": "", "frank": "", "grace": "",
		"erin": reason.TrustKeyMalformed, "heidi": reason.TrustKeyUnsupported} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(dir, name+".pub"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = trust.ParseKey(raw)
			if e, _ := reason.Of(err); (want == "") != (err == nil) || e != nil && e.Code != want {
				t.Error(err)
			}
		})
	}
}
