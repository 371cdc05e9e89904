package model

import (
	"crypto/elliptic"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestPreview finds the artifact that Verify would find, whoever signed, and refuses a
// folder that is not the signed one.
func TestPreview(t *testing.T) {
	s := newSigner(t, elliptic.P256())
	dir := write(t, small)
	put(t, dir+"/.git/config", "planted")
	put(t, dir+"/notes/deep", "planted")
	sig := s.sign(t, mustJSON(t, statement(small, smallOrder...)))
	want, err := Verify(t.Context(), sig, s.root(), now, Options{Ref: ref(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Preview(t.Context(), sig, Options{Ref: ref(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	if got.Artifact.Digest() != want.Artifact.Digest() || got.Tree.Digest() != want.Tree.Digest() || got.Folder != dir {
		t.Errorf("found %+v, want %+v", got, want)
	}
	if !slices.Contains(got.Ignored, ".git") || !slices.Contains(got.Ignored, "notes") {
		t.Errorf("ignored %q", got.Ignored)
	}
	put(t, dir+"/planted.bin", "x")
	_, err = Preview(t.Context(), sig, Options{Ref: ref(t, dir)})
	if e, _ := reason.Of(err); e == nil || e.Code != reason.ModelFileUnsigned {
		t.Errorf("a planted file: %v", err)
	}
	other := statement(small, smallOrder...)
	other["predicateType"] = "https://registry.example/other/v1"
	_, err = Preview(t.Context(), s.sign(t, mustJSON(t, other)), Options{Ref: ref(t, dir)})
	if e, _ := reason.Of(err); e == nil || e.Code != reason.ModelPredicateType {
		t.Errorf("another predicate: %v", err)
	}
}

// TestEvidence puts what is said about a model beside its folder, never into it.
func TestEvidence(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	want := dir + ".intoto.jsonl"
	for _, path := range []string{dir, dir + "/", ".", "./", filepath.Join(dir, "x", "..")} {
		if at, err := Evidence(path); err != nil || at != want {
			t.Errorf("%s: %s, %v; want %s", path, at, err, want)
		}
	}
}
