//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const cellType = "https://registry.example/reviewed/v1"

// cell is a kind of artifact and a kind of evidence about it.
type cell struct {
	*lab
	kind, word string
}

// cellCodes are what the cell's four refusals say: each one code, or two, of the
// demand and of the envelope.
func (c cell) codes() map[string][]reason.Code {
	if c.kind == "model" && c.word == "signature" {
		return map[string][]reason.Code{"absent": {reason.ModelSignatureAbsent}, "signer": {reason.SignatureWrongIdentity},
			"subject": {reason.ModelDigestMismatch}, "tampered": {reason.SignatureInvalid}}
	}
	of := map[string][3]reason.Code{
		"signature":   {reason.SignatureAbsent, reason.SignatureWrongIdentity, reason.SignatureUnproved},
		"sbom":        {reason.SBOMAbsent, reason.SBOMWrongIdentity, reason.SBOMUnproved},
		"attestation": {reason.AttestationAbsent, reason.AttestationWrongIdentity, reason.AttestationUnproved},
	}[c.word]
	return map[string][]reason.Code{"absent": {of[0]}, "signer": {of[1]},
		"subject": {of[2], reason.SubjectMismatch}, "tampered": {of[2], reason.SignatureInvalid}}
}

// bare puts an artifact without evidence under a name: the one that is asked for, or
// another of its kind.
func (c cell) bare(name string, other bool) {
	c.t.Helper()
	source := map[string]string{"image": "tools", "mcp": "notes", "model": "model"}[c.kind]
	if other {
		source = map[string]string{"image": "notes", "mcp": "tools", "model": "model"}[c.kind]
	}
	c.copy(filepath.Join(c.images, source), name)
	if other && c.kind == "model" {
		c.write(name+"/config.json", "{}")
	}
}

func (c cell) ref(name string) string {
	if c.kind == "model" {
		return "model:./" + name
	}
	return "oci-layout:./" + name
}

// say has somebody say the cell's word about an artifact, and returns the bundle.
func (c cell) say(name, key string) []byte {
	c.t.Helper()
	ref := c.ref(name)
	if c.kind == "model" && c.word != "signature" {
		c.ok("sign", "--key", "release.key", ref)
	}
	predicate := []string{"--predicate", "reviewed.json", "--type", cellType}
	switch c.word {
	case "signature":
		c.ok("sign", "--key", key, ref)
	case "sbom":
		c.write(name+".spdx.json", c.ok("sbom", "create", ref).out)
		predicate = []string{"--predicate", name + ".spdx.json", "--type", "spdxjson"}
		fallthrough
	default:
		c.ok(append([]string{"attest", "--key", key, ref}, predicate...)...)
	}
	switch {
	case c.kind != "model":
		return c.attached(name)
	case c.word == "signature":
		return c.read(name + "/model.sig")
	}
	return c.read(name + ".intoto.jsonl")
}

func (c cell) read(name string) []byte {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

// attached is the one bundle of a layout.
func (c cell) attached(name string) []byte {
	c.t.Helper()
	blobs, _ := filepath.Glob(filepath.Join(c.dir, name, "blobs", "sha256", "*"))
	for _, b := range blobs {
		raw, err := os.ReadFile(b)
		if err != nil {
			c.t.Fatal(err)
		}
		if bytes.HasPrefix(raw, []byte("{")) && bytes.Contains(raw, []byte(`"dsseEnvelope"`)) {
			return raw
		}
	}
	c.t.Fatal("no bundle in " + name)
	return nil
}

// show puts a bundle that somebody made where it is looked for about an artifact.
func (c cell) show(name string, bundle []byte) (flags []string) {
	c.t.Helper()
	c.bare(name, false)
	switch {
	case c.kind != "model" && bundle != nil:
		c.write(name+".bundle", string(bundle))
		return []string{"--evidence", name + ".bundle"}
	case c.kind != "model":
		return nil
	case c.word != "signature":
		c.ok("sign", "--key", "release.key", c.ref(name))
		if bundle != nil {
			c.write(name+".intoto.jsonl", string(bundle))
		}
	case bundle != nil:
		c.write(name+"/model.sig", string(bundle))
	}
	return nil
}

// policy demands the cell's word of the cell's kind, and signatures of the rest.
func (c cell) policy() {
	demand := map[string]string{"signature": "{by: [release]}", "sbom": "{by: [release], covers: all}", "attestation": "{by: [release], type: '" + cellType + "'}"}
	text := "identities: {release: {key: release.pub}, other: {key: other.pub}}\n"
	for section, kind := range map[string]string{"images": "image", "models": "model", "servers": "mcp"} {
		word := "signature"
		if kind == c.kind {
			word = c.word
		}
		text += fmt.Sprintf("%s: [{match: registry.example/apart, require: [{signature: {by: [other]}}]}, {match: '**', require: [{%s: %s}]}]\n", section, word, demand[word])
	}
	c.write("policy.yaml", text)
}

func (c cell) verify(name string, flags ...string) answer {
	c.t.Helper()
	if c.kind == "mcp" {
		flags = append(flags, "--kind", "server")
	}
	return c.lab.run(append(append([]string{"verify", "--json", "--policy", "policy.yaml"}, flags...), c.ref(name))...)
}

// launch runs what prints "ran" with the artifact: as its image, or lent to it.
func (c cell) launch(name string, flags ...string) answer {
	c.t.Helper()
	words := append([]string{"run", "--policy", "policy.yaml"}, flags...)
	switch c.kind {
	case "image":
		words = append(words, c.ref(name), "echo", "ran")
	case "model":
		words = append(words, "--model", "main=./"+name, "oci-layout:./agent", "cat", "/models/main/config.json")
	case "mcp":
		c.write("task.yaml", "image: oci-layout:./agent\ncommand: [echo, ran]\nservers: {main: 'oci-layout:./"+name+"'}\n")
		words = append(words, "--task", "task.yaml")
	}
	return c.lab.run(words...)
}

// TestCells takes every kind of evidence about every kind of artifact, from verify
// and from run, and refuses it where it is absent, by another signer, about another
// artifact, or changed.
func TestCells(t *testing.T) {
	l := newLab(t)
	l.ok("key", "generate", "--output-key-prefix", "other")
	l.write("reviewed.json", `{"verdict": "good"}`)
	l.image("tools")
	if err := os.Rename(filepath.Join(l.dir, "tools"), filepath.Join(l.dir, "agent")); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"image", "model", "mcp"} {
		for _, word := range []string{"signature", "sbom", "attestation"} {
			t.Run(kind+"/"+word, func(t *testing.T) {
				own := *l
				own.t = t
				c := cell{&own, kind, word}
				c.policy()
				at := func(name string) string { return kind + "-" + word + "-" + name }
				bundles := map[string][]byte{"absent": nil}
				for name, by := range map[string]string{"good": "release.key", "signer": "other.key", "subject": "release.key"} {
					c.bare(at(name), name == "subject")
					bundles[name] = c.say(at(name), by)
				}
				bundles["tampered"] = readdressed(t, bundles["subject"], bundles["good"])

				if a := c.verify(at("good")); a.status != 0 {
					t.Errorf("verify: status %d: %s%s", a.status, a.out, a.err)
				}
				says := map[string]string{"image": "ran", "model": "{", "mcp": "ran"}[kind]
				if a := c.launch(at("good")); a.status != 0 || !strings.HasPrefix(a.out, says) {
					t.Errorf("run: status %d: %s%s", a.status, a.out, a.err)
				}
				want := digest.FromBytes(bytes.TrimSpace(bundles["good"])).String()
				if a := c.ok("audit", "show", "--json"); !strings.Contains(a.out, want) {
					t.Errorf("%s is not in the audit log", want)
				}
				for name, codes := range c.codes() {
					flags := c.show(at("not-"+name), bundles[name])
					check := func(verb string, a answer, status int) {
						t.Helper()
						if a.status != status || status == 125 && a.out != "" {
							t.Errorf("%s, %s: status %d, want %d: %s%s", verb, name, a.status, status, a.out, a.err)
						}
						for _, code := range codes {
							if !strings.Contains(a.out+a.err, string(code)) {
								t.Errorf("%s, %s: no %s in %s%s", verb, name, code, a.out, a.err)
							}
						}
					}
					check("verify", c.verify(at("not-"+name), flags...), 1)
					check("run", c.launch(at("not-"+name), flags...), 125)
				}
			})
		}
	}
}

// readdressed changes a bundle after it was signed: what it says about its subject, it
// says about another's.
func readdressed(t *testing.T, raw, other []byte) []byte {
	t.Helper()
	envelope := func(raw []byte) (all map[string]json.RawMessage, dsse map[string]json.RawMessage, payload []byte, subject string) {
		var st struct {
			Subject []struct{ Digest map[string]string }
		}
		err := json.Unmarshal(raw, &all)
		if err == nil {
			err = json.Unmarshal(all["dsseEnvelope"], &dsse)
		}
		if err == nil {
			err = json.Unmarshal(dsse["payload"], &payload)
		}
		if err == nil {
			err = json.Unmarshal(payload, &st)
		}
		if err != nil || len(st.Subject) != 1 {
			t.Fatalf("%v in %s", err, raw)
		}
		return all, dsse, payload, st.Subject[0].Digest["sha256"]
	}
	all, dsse, payload, was := envelope(raw)
	_, _, _, is := envelope(other)
	changed := bytes.ReplaceAll(payload, []byte(was), []byte(is))
	if was == is || bytes.Equal(payload, changed) {
		t.Fatal("nothing was changed")
	}
	dsse["payload"] = marshal(t, changed)
	all["dsseEnvelope"] = marshal(t, dsse)
	bundle := marshal(t, all)
	if err := content.CheckJSON("bundle", bundle); err != nil {
		t.Fatal(err)
	}
	return bundle
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
