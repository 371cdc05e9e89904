package steps

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// seeds are well-formed documents, in both forms, in few bytes.
var seeds = []string{
	`{"_type":"layout","expires":"2030-01-01T00:00:00Z","readme":"","inspect":[],"keys":{"0011223344556677":{"keyid":"0011223344556677","keytype":"ed25519",` +
		`"scheme":"ed25519","keyid_hash_algorithms":["sha256"],"keyval":{"public":"394e678b200f964c49083d34a867f5d989ec1a77bf6759b8f91c9c0a2e1d9b1c"}}},"steps":[` +
		`{"_type":"step","name":"fetch","threshold":1,"pubkeys":["0011223344556677"],"expected_command":[],"expected_materials":[],"expected_products":[["ALLOW","src/[!a-c]\\*?*"],["DISALLOW","*"]]},` +
		`{"_type":"step","name":"build","threshold":1,"pubkeys":[],"expected_command":["make"],"expected_materials":[["MATCH","*","IN","src","WITH","PRODUCTS","IN","src","FROM","fetch"],["DISALLOW","*"]],` +
		`"expected_products":[["CREATE","x"],["MODIFY","x"],["DELETE","x"],["REQUIRE","x"],["DISALLOW","*"]]}]}`,
	`{"_type":"link","name":"build","command":[],"byproducts":{"return-value":0},"environment":{"a":null,"b":1e3},"materials":{"src/d":{"sha256":` + zeros + `}},"products":{"x":{"sha256":` + zeros + `,"sha512":"00"}}}`,
}

// farFuture is when keys of the seeds may still sign.
var farFuture = time.Date(2129, 1, 1, 0, 0, 0, 0, time.UTC)

const zeros = `"0000000000000000000000000000000000000000000000000000000000000000"`

func seed(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(`{"signed":` + s + `,"signatures":[{"keyid":"0011223344556677","sig":"00","cert":"x"}]}`))
		f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `","signatures":[{"keyid":"0011223344556677","sig":"AA=="}]}`))
	}
}

// silent redirects standard output, and gives a check that nothing came to it.
func silent(f *testing.F) func(t *testing.T) {
	out := os.Stdout
	file, err := os.Create(filepath.Join(f.TempDir(), "out"))
	if err != nil {
		f.Fatal(err)
	}
	os.Stdout = file
	f.Cleanup(func() { os.Stdout = out })
	return func(t *testing.T) {
		if at, err := file.Seek(0, 1); err != nil || at != 0 {
			t.Fatalf("%d bytes on standard output: %v", at, err)
		}
	}
}

// links are what the steps of the seeds made.
func links(t *testing.T) map[string]in_toto.Metadata {
	t.Helper()
	v, err := payload("seed", []byte(seeds[1]))
	if err != nil {
		t.Fatal(err)
	}
	made := v.(in_toto.Link)
	fetched := in_toto.Link{Materials: map[string]in_toto.HashObj{}, Products: made.Materials}
	return map[string]in_toto.Metadata{"fetch": document{payload: fetched}, "build": document{payload: made}}
}

// tried does with a document whatever Check does to one, as far as no signature is
// asked for; and what asks for one must refuse.
func tried(t *testing.T, d document) {
	t.Helper()
	public, err := functionary(in_toto.Key{KeyType: "ed25519", Scheme: "ed25519", KeyVal: in_toto.KeyVal{Public: "394e678b200f964c49083d34a867f5d989ec1a77bf6759b8f91c9c0a2e1d9b1c"}})
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := d.signers([]trust.Key{public}, farFuture); err == nil {
		t.Fatalf("signed by %v, who signed nothing", ids)
	}
	rewritten(t, d.payload)
	c := check{now: farFuture.AddDate(-100, 0, 0), links: map[string][]byte{}}
	l, ok := d.payload.(in_toto.Layout)
	if !ok {
		return
	}
	if _, err := c.layout(l, place{depth: 1}); err == nil {
		t.Fatal("steps were done without links")
	}
	all := links(t)
	for _, s := range l.Steps {
		if all[s.Name] == nil {
			all[s.Name] = all["build"]
		}
		for id := range l.Keys {
			s.PubKeys = append(s.PubKeys, id)
			_ = c.counts(l, s, place{}, d, id)
		}
	}
	_ = place{}.artifacts(l, all)
}

// rewritten reads again what in-toto-golang writes of a payload, which must be the
// same to it. The bytes may differ, in the order of keys, in spaces and in what is
// null or empty: signatures are over those that were read, or over the canonical form.
func rewritten(t *testing.T, was any) {
	t.Helper()
	raw, err := json.Marshal(was)
	if err != nil {
		t.Fatal(err)
	}
	is, err := payload("again", raw)
	if err != nil {
		t.Fatalf("%v:\n%s", err, raw)
	}
	if again, err := json.Marshal(is); err != nil || !bytes.Equal(again, raw) {
		t.Fatalf("%v: %s\nand again %s", err, raw, again)
	}
}

// FuzzLayout: nothing that parses makes in-toto-golang crash or print, and it means
// the same when it is written again.
func FuzzLayout(f *testing.F) {
	seed(f)
	quiet := silent(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parse("layout", raw, reason.InTotoLayoutMalformed)
		if err != nil {
			if e, ok := reason.Of(err); !ok || e.Code.Class() != reason.Denied {
				t.Fatal(err)
			}
			return
		}
		tried(t, d)
		quiet(t)
	})
}

// FuzzLink: the same of links, under the rules of a layout.
func FuzzLink(f *testing.F) {
	seed(f)
	quiet := silent(f)
	v, err := payload("seed", []byte(seeds[0]))
	if err != nil {
		f.Fatal(err)
	}
	l := v.(in_toto.Layout)
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := parse("link", raw, reason.InTotoLinkMalformed)
		if err != nil {
			if e, ok := reason.Of(err); !ok || e.Code.Class() != reason.Denied {
				t.Fatal(err)
			}
			return
		}
		tried(t, d)
		if _, ok := d.payload.(in_toto.Link); ok {
			all := links(t)
			for _, step := range []string{"fetch", "build"} {
				all[step] = d
				_ = place{}.artifacts(l, all)
			}
		}
		quiet(t)
	})
}

// FuzzRule: a rule of well-formed words never makes in-toto-golang crash or print,
// whatever the artifacts are called.
func FuzzRule(f *testing.F) {
	for _, rule := range []string{"ALLOW\n[!a-z]*", "disallow\n*", "MATCH\n?\\*\nIN\na\nWITH\nMATERIALS\nIN\nb/c\nFROM\nfetch", "REQUIRE\nx", "ALLOW\n[]-a]", "CREATE\n[[*]"} {
		f.Add(rule, "a/x")
	}
	quiet := silent(f)
	f.Fuzz(func(t *testing.T, words, artifact string) {
		rule := strings.Split(words, "\n")
		link := in_toto.Link{Name: "fetch", Materials: map[string]in_toto.HashObj{artifact: {"sha256": strings.Trim(zeros, `"`)}}, Products: map[string]in_toto.HashObj{}}
		if ruleShape(rule, []string{"fetch"}) != nil || linkShape(link) != nil {
			return
		}
		link.Products = link.Materials
		rules := [][]string{rule, {"DISALLOW", "*"}}
		s := in_toto.Step{SupplyChainItem: in_toto.SupplyChainItem{Name: "fetch", ExpectedMaterials: rules, ExpectedProducts: rules}}
		_ = place{}.artifacts(in_toto.Layout{Steps: []in_toto.Step{s}}, map[string]in_toto.Metadata{"fetch": document{payload: link}})
		quiet(t)
	})
}
