package model

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestVerify accepts each curve and makes exactly the signed files of it.
func TestVerify(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		t.Run(curve.Params().Name, func(t *testing.T) {
			s := newSigner(t, curve)
			dir := write(t, small)
			put(t, dir+"/.git/config", "planted")
			put(t, dir+"/model.sig", "planted")
			put(t, dir+"/notes/deep/one", "planted")
			put(t, dir+"/.gitattributes", "planted")
			if err := os.MkdirAll(dir+"/empty/folder", 0o755); err != nil {
				t.Fatal(err)
			}
			var read atomic.Int64
			got, err := Verify(t.Context(), s.sign(t, mustJSON(t, statement(small, smallOrder...))), s.root(), now,
				Options{Ref: ref(t, dir), Read: func(n int64) { read.Add(n) }})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for e := range got.Tree.Entries() {
				names = append(names, e.Path)
				if e.Type == tree.File && (e.Digest != sum(small[e.Path]) || e.Mode != 0o444 || e.Size != int64(len(small[e.Path]))) {
					t.Errorf("entry %+v", e)
				}
			}
			want := []string{".", "config.json", "onnx", "onnx/model.onnx", "onnx-fp16", "onnx-fp16/model.onnx", "żółw 漢.bin"}
			if !slices.Equal(names, want) {
				t.Errorf("the tree has %q, want %q", names, want)
			}
			if read.Load() != 25 || got.Artifact.Size() != 25 || got.Folder != dir || len(got.Notes) != 0 {
				t.Errorf("read %d bytes, %+v", read.Load(), got)
			}
			if got.Claim.Signer().Key != s.key.ID() || got.Artifact.Kind() != artifact.Model || got.Artifact.Ref().Name() != "models/small" {
				t.Errorf("claim %+v, artifact %+v", got.Claim.Signer(), got.Artifact)
			}
			if err := Covers(got.Claim, got.Tree); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOrder takes both orders in use: by code point and by path component.
func TestOrder(t *testing.T) {
	s := newSigner(t, elliptic.P384())
	dir := write(t, small)
	byPart := []string{"config.json", "onnx/model.onnx", "onnx-fp16/model.onnx", "żółw 漢.bin"}
	got, err := Verify(t.Context(), s.sign(t, mustJSON(t, statement(small, byPart...))), s.root(), now, Options{Ref: ref(t, dir)})
	if err != nil || len(got.Notes) != 1 {
		t.Fatalf("%v, notes %q", err, got.Notes)
	}
	other, err := Verify(t.Context(), s.sign(t, mustJSON(t, statement(small, smallOrder...))), s.root(), now, Options{Ref: ref(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	if got.Root == other.Root || got.Artifact.Digest() != other.Artifact.Digest() || got.Tree.Digest() != other.Tree.Digest() {
		t.Error("the order is part of the artifact's digest, or not of the root digest")
	}
}

// TestManifest fixes the artifact's digest to the format in the package comment.
func TestManifest(t *testing.T) {
	a, b := sum("weights"), sum("")
	made, err := tree.FromFiles([]tree.Entry{
		{Path: "b/c", Type: tree.File, Mode: 0o444, Digest: b},
		{Path: "b-c", Type: tree.File, Mode: 0o444, Size: 7, Digest: a},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := digest.FromString("ztlaunch/model/v1\n" + a.Encoded() + " 7 b-c\x00" + b.Encoded() + " 0 b/c\x00")
	if got := Manifest(made); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestCovers refuses every tree that is not the signed one.
func TestCovers(t *testing.T) {
	s := newSigner(t, elliptic.P256())
	got, err := Verify(t.Context(), s.sign(t, mustJSON(t, statement(small, smallOrder...))), s.root(), now, Options{Ref: ref(t, write(t, small))})
	if err != nil {
		t.Fatal(err)
	}
	var good []tree.Entry
	for e := range got.Tree.Entries() {
		good = append(good, e)
	}
	at := func(name string) int {
		return slices.IndexFunc(good, func(e tree.Entry) bool { return e.Path == name })
	}
	for name, tc := range map[string]struct {
		change func([]tree.Entry) []tree.Entry
		want   reason.Code
	}{
		"digest":  {func(l []tree.Entry) []tree.Entry { l[1].Digest = sum("x"); return l }, reason.ModelDigestMismatch},
		"extra":   {func(l []tree.Entry) []tree.Entry { l[1].Path = "other"; return append(l, good[1]) }, reason.ModelFileUnsigned},
		"missing": {func(l []tree.Entry) []tree.Entry { return slices.Delete(l, 1, 2) }, reason.ModelFileMissing},
		"link": {func(l []tree.Entry) []tree.Entry {
			return append(l, tree.Entry{Path: "l", Type: tree.Symlink, Mode: 0o777, Link: "config.json"})
		}, reason.ModelFileType},
		"swapped": {func(l []tree.Entry) []tree.Entry {
			i, j := at("onnx/model.onnx"), at("onnx-fp16/model.onnx")
			l[i].Digest, l[j].Digest = l[j].Digest, l[i].Digest
			return l
		}, reason.ModelDigestMismatch},
	} {
		made, err := tree.FromFiles(tc.change(slices.Clone(good)))
		if err != nil {
			t.Fatal(name, err)
		}
		if e, ok := reason.Of(Covers(got.Claim, made)); !ok || e.Code != tc.want {
			t.Errorf("%s: %v", name, e)
		}
	}
	if e, ok := reason.Of(Covers(evidence.Claim{}, got.Tree)); !ok || e.Code != reason.ModelPredicateType {
		t.Errorf("the zero claim: %v", e)
	}
}

// TestSingleFile takes a signature over one file, under its name and under none.
func TestSingleFile(t *testing.T) {
	s := newSigner(t, elliptic.P256())
	dir := write(t, map[string]string{"model.onnx": "weights", "other": "not looked at"})
	for _, name := range []string{"model.onnx", "."} {
		sig := s.sign(t, mustJSON(t, statement(map[string]string{name: "weights"}, name)))
		got, err := Verify(t.Context(), sig, s.root(), now, Options{Ref: ref(t, dir+"/model.onnx")})
		if err != nil {
			t.Fatal(name, err)
		}
		if _, ok := got.Tree.Lookup("model.onnx"); !ok || got.Tree.Len() != 2 || got.Folder != dir {
			t.Errorf("%q: %d entries from %s", name, got.Tree.Len(), got.Folder)
		}
		if err := Covers(got.Claim, got.Tree); err != nil {
			t.Error(name, err)
		}
	}
	for name, tc := range map[string]struct {
		sig  obj
		path string
		want reason.Code
	}{
		"other-name":       {statement(map[string]string{"x": "weights"}, "x"), "/model.onnx", reason.ModelFileMissing},
		"two-files":        {statement(map[string]string{"model.onnx": "weights", "other": ""}, "model.onnx", "other"), "/model.onnx", reason.ModelFileMissing},
		"other-bytes":      {statement(map[string]string{".": "weights"}, "."), "/other", reason.ModelDigestMismatch},
		"nameless-in-dir":  {statement(map[string]string{".": "weights"}, "."), "", reason.ModelName},
		"nameless-and-one": {statement(map[string]string{".": "weights", "other": ""}, ".", "other"), "/model.onnx", reason.ModelName},
	} {
		_, err := Verify(t.Context(), s.sign(t, mustJSON(t, tc.sig)), s.root(), now, Options{Ref: ref(t, dir+tc.path)})
		if e, ok := reason.Of(err); !ok || e.Code != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

// TestVectors verifies the released formats that others signed. They are read in
// place, beside the project.
func TestVectors(t *testing.T) {
	folder := verifytest.Vectors(t, "model-signing")
	if folder == "" {
		return
	}
	text, err := os.ReadFile(folder + "/keys/certificate/signing-key-pub.pem")
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.ParseKey(text[strings.Index(string(text), "-----BEGIN"):])
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(folder + "/v*-*")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]int{}
	for _, dir := range found {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			version, method, _ := strings.Cut(filepath.Base(dir), "-")
			path, o := dir, Options{}
			if version == "v1.0.1" {
				o.Ignore = []string{"ignore-me"} // not recorded before 1.1.0
			}
			if _, err := os.Stat(dir + "/signme-2"); err != nil {
				path += "/signme-1" // one file, signed as such
			}
			sig, from, err := Signature(path)
			if err != nil {
				t.Fatal(err)
			}
			o.Ref, o.Signature = ref(t, path), from
			got, err := Verify(context.Background(), sig, trust.Embedded().With(key), now, o)
			e, _ := reason.Of(err)
			switch {
			case method == "certificate" && (e == nil || e.Code != reason.ModelCertificate):
				t.Errorf("%v", err)
			case method == "elliptic-key" && (err != nil || got.Claim.Signer().Key != key.ID()):
				t.Errorf("%v", err)
			case method == "sigstore" && (err != nil || got.Claim.Signer().SAN != "stefanb@us.ibm.com"):
				t.Errorf("%v", err)
			}
			cases[method]++
			if method == "certificate" {
				return
			}
			_, err = Verify(context.Background(), sig, newSigner(t, elliptic.P384()).root(), now, o)
			if e, ok := reason.Of(err); !ok || e.Code.Class() != reason.Denied {
				t.Errorf("with another key: %v", err)
			}
		})
	}
	if cases["elliptic-key"] < 4 || cases["sigstore"] < 4 || cases["certificate"] < 5 {
		t.Errorf("cases: %v", cases)
	}
	t.Logf("vectors: %v", cases)
}

func TestSignature(t *testing.T) {
	dir := write(t, map[string]string{"m/w": "", "m/model.sig": "inside", "m.sig": "beside", "n/w": "", "n.sig": "beside n", "model.sig": "of files", "f": "", "g": "", "g.sig": "of g", "o/w": "", "p/w": ""})
	if err := os.Symlink("../n.sig", dir+"/p/model.sig"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"m": "inside", "m/": "inside", "n": "beside n", "n/": "beside n", "f": "of files", "g": "of g", "o": "", "p": "", "none": ""} {
		raw, _, err := Signature(dir + "/" + path)
		if string(raw) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", path, raw, err)
		}
	}
	_, _, err := Signature(dir + "/o")
	if e, ok := reason.Of(err); !ok || e.Code != reason.ModelSignatureAbsent {
		t.Errorf("absent: %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	s := newSigner(t, elliptic.P256())
	sig := s.sign(t, mustJSON(t, statement(small, smallOrder...)))
	_, err := Verify(t.Context(), sig, s.root(), now, Options{Ref: ref(t, t.TempDir()+"/none")})
	if e, ok := reason.Of(err); !ok || e.Code != reason.ModelUnreadable || e.Code.Class() != reason.CannotTell {
		t.Errorf("no folder: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err = Verify(ctx, sig, s.root(), now, Options{Ref: ref(t, write(t, small))})
	if e, ok := reason.Of(err); !ok || e.Code != reason.ModelUnreadable {
		t.Errorf("called off: %v", err)
	}
	_, err = Verify(t.Context(), sig, s.root(), now, Options{})
	if e, ok := reason.Of(err); !ok || e.Code != reason.UsageWrong {
		t.Errorf("no reference: %v", err)
	}
}

// TestGrowing appends to a file while it is being read.
func TestGrowing(t *testing.T) {
	s := newSigner(t, elliptic.P256())
	big := map[string]string{"w": strings.Repeat("w", 3<<20)}
	dir := write(t, big)
	f, err := os.OpenFile(dir+"/w", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = Verify(t.Context(), s.sign(t, mustJSON(t, statement(big, "w"))), s.root(), now,
		Options{Ref: ref(t, dir), Read: func(int64) { f.WriteString("more") }})
	if e, ok := reason.Of(err); !ok || e.Code != reason.ModelChanged {
		t.Errorf("%v", err)
	}
}

func TestList(t *testing.T) {
	dir := write(t, small)
	put(t, dir+"/.git/config", "x")
	put(t, dir+"/model.sig", "x")
	put(t, dir+"/notes/x", "x")
	files, ignore, err := List(t.Context(), Options{Ref: ref(t, dir), Signature: dir + "/model.sig", Ignore: []string{"notes"}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
		if f.Digest != sum(small[f.Path]) {
			t.Errorf("%+v", f)
		}
	}
	if !slices.Equal(names, smallOrder) || !slices.Equal(ignore, []string{".git", ".gitattributes", ".github", ".gitignore", "model.sig", "notes"}) {
		t.Errorf("%q, %q", names, ignore)
	}
	for name, do := range map[string]func(dir string) error{
		string(reason.ModelEmpty):     func(dir string) error { return os.RemoveAll(dir + "/w") },
		string(reason.ModelNameTwins): func(dir string) error { return os.WriteFile(dir+"/W", nil, 0o644) },
		string(reason.ModelName):      func(dir string) error { return os.WriteFile(dir+"/\xff", nil, 0o644) },
		string(reason.ModelFileType):  func(dir string) error { return fifo(dir + "/p") },
	} {
		dir := write(t, map[string]string{"w": ""})
		if err := do(dir); err != nil {
			t.Fatal(err)
		}
		_, _, err := List(t.Context(), Options{Ref: ref(t, dir)})
		if e, ok := reason.Of(err); !ok || string(e.Code) != name || e.What == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRootDigest holds the root digest to a value that another tool signed.
func TestRootDigest(t *testing.T) {
	m := manifest{files: []listed{
		{"signme-1", "sha256:bc9a717db6064a32cbe9eae6fc40651dd6d36ef1757183f590eff2b1765d7ebc"},
		{"signme-2", "sha256:32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028"},
	}}
	if got := m.root(); got != "sha256:92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4" {
		t.Error(got)
	}
	if h := sha256.Sum256(nil); (manifest{}).root().Encoded() != hex.EncodeToString(h[:]) {
		t.Error("the root digest of nothing")
	}
}

// BenchmarkHash is one pass over 256 MiB in four files.
func BenchmarkHash(b *testing.B) {
	dir := b.TempDir()
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := os.WriteFile(dir+"/"+name, make([]byte, 64<<20), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	r, err := artifact.Parse("model:" + dir)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(256 << 20)
	for b.Loop() {
		if _, _, err := List(b.Context(), Options{Ref: r}); err != nil {
			b.Fatal(err)
		}
	}
}
