//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// scriptTB lets what makes signed things for tests make them in a script.
type scriptTB struct {
	testing.TB
	ts *testscript.TestScript
}

func (s scriptTB) Helper()                        {}
func (s scriptTB) Fatal(v ...any)                 { s.ts.Fatalf("%s", fmt.Sprint(v...)) }
func (s scriptTB) Fatalf(format string, v ...any) { s.ts.Fatalf(format, v...) }

// makeChain makes an in-toto layout by owner, whose key is owner.pub for a whole
// script, and the links of its two steps by two functionaries. The product image.json
// of the last is the manifest of an image.
func makeChain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: chain IMAGE DIR [inspect | expired]")
	}
	t := scriptTB{ts: ts}
	owner, compiler, packager := functionary(ts, "owner"), functionary(ts, "compiler"), functionary(ts, "packager")
	at, err := layout.FromPath(ts.MkAbs(args[0]))
	ts.Check(err)
	index, err := at.ImageIndex()
	ts.Check(err)
	list, err := index.IndexManifest()
	ts.Check(err)
	program, image := map[string]string{"agent": list.Manifests[0].Digest.Hex[:63] + "0"}, map[string]string{"image.json": list.Manifests[0].Digest.Hex}
	until := time.Now().AddDate(1, 0, 0)
	if args[len(args)-1] == "expired" {
		until = time.Now().AddDate(0, 0, -1)
	}
	l := verifytest.Layout(until,
		verifytest.Step{Name: "compile", By: []verifytest.Functionary{compiler}, Threshold: 1, Products: []string{"CREATE agent", "DISALLOW *"}},
		verifytest.Step{Name: "package", By: []verifytest.Functionary{packager}, Threshold: 1,
			Materials: []string{"MATCH agent WITH PRODUCTS FROM compile", "DISALLOW *"}, Products: []string{"CREATE image.json", "DISALLOW *"}})
	if args[len(args)-1] == "inspect" {
		l["inspect"] = []any{map[string]any{"_type": "inspection", "name": "look", "run": []any{"touch", ts.MkAbs("mark")},
			"expected_materials": []any{}, "expected_products": []any{}}}
	}
	dir := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(dir, 0o755))
	for name, raw := range map[string][]byte{
		"root.layout": verifytest.InTotoEnvelope(t, l, owner),
		verifytest.LinkFile("compile", compiler, ".link"): verifytest.Metablock(t, verifytest.Link("compile", nil, program), compiler),
		verifytest.LinkFile("package", packager, ".link"): verifytest.InTotoEnvelope(t, verifytest.Link("package", program, image), packager),
	} {
		ts.Check(os.WriteFile(filepath.Join(dir, name), raw, 0o644))
	}
}

// functionary is somebody of a script, with the key NAME.seed that is made when she is
// first needed.
func functionary(ts *testscript.TestScript, name string) verifytest.Functionary {
	file := ts.MkAbs(name + ".seed")
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		public, private, kerr := ed25519.GenerateKey(rand.Reader)
		ts.Check(kerr)
		der, kerr := x509.MarshalPKIXPublicKey(public)
		ts.Check(kerr)
		raw, err = private.Seed(), os.WriteFile(file, private.Seed(), 0o600)
		ts.Check(os.WriteFile(ts.MkAbs(name+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644))
	}
	ts.Check(err)
	return verifytest.NewFunctionary(scriptTB{ts: ts}, ed25519.NewKeyFromSeed(raw))
}
