package main

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestModel checks the tiny model by the format's own rules.
func TestModel(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	for range 2 { // again over the old one
		if err := run([]string{"model", "-out", dir}); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(raw)
	if n%8 != 0 || 8+n > uint64(len(raw)) {
		t.Fatalf("header of %d bytes in %d", n, len(raw))
	}
	var header map[string]struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets []int  `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	delete(header, "__metadata__")
	covered := 0
	for name, e := range header {
		size := 4
		for _, d := range e.Shape {
			size *= d
		}
		if e.DType != "F32" || len(e.Offsets) != 2 || e.Offsets[1]-e.Offsets[0] != size {
			t.Errorf("%s: %+v", name, e)
		}
		covered += size
	}
	if want := len(raw) - 8 - int(n); covered != want || len(header) != 2 {
		t.Errorf("%d tensors cover %d of %d bytes", len(header), covered, want)
	}
	for _, name := range []string{"config.json", "tokenizer.json"} {
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !json.Valid(body) {
			t.Errorf("%s: %v, valid JSON: %v", name, err, json.Valid(body))
		}
	}
}

// TestWords runs the verbs over one another's output.
func TestWords(t *testing.T) {
	temp := t.TempDir()
	at := func(name string) string { return filepath.Join(temp, name) }
	if err := os.WriteFile(at("program"), []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"build", "-out", at("a"), "-add", at("program") + "=/p:755", "-link", "/bin/p=/p", "-dir", "/empty", "-text", "/etc/x=y=z",
			"-entrypoint", "/p", "-cmd", "c", "-env", "K=V", "-user", "1", "-workdir", "/w", "-volume", "/v", "-label", "l=m"},
		{"build", "-out", at("b"), "-platform", "linux/arm64", "-text", "/x=y"},
		{"index", "-out", at("both"), at("a"), at("b")},
		{"add", "-out", at("more"), "-text", "/opt/x=y", at("a")},
		{"archive", "-out", at("oci.tar"), at("a")},
		{"archive", "-format", "docker", "-name", "x:y", "-out", at("docker.tar"), at("a")},
		{"blobs", at("both")},
		{"corrupt", "-blob", "config", "-how", "truncate", at("a")},
	} {
		if err := run(args); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	for _, args := range [][]string{
		{}, {"bake"}, {"build"}, {"build", "-out", at("c"), "extra"}, {"build", "-out", at("c"), "-add", "nowhere"},
		{"build", "-out", at("c"), "-add", at("absent") + "=/p"}, {"build", "-out", at("c"), "-platform", "linux"},
		{"index", "-out", at("c")}, {"archive", "-format", "zip", "-out", at("c"), at("b")}, {"add", "-out", at("c"), at("both")},
		{"corrupt", "-blob", "layer9", at("b")}, {"corrupt", "-how", "burn", at("b")}, {"blobs", at("absent")}, {"model"},
	} {
		if err := run(args); err == nil {
			t.Errorf("%v was done", args)
		}
	}
}
