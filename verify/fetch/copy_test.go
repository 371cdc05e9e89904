package fetch

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestCopy goes layout, registry, registry, layout: every blob arrives as it
// was, all platforms included.
func TestCopy(t *testing.T) {
	w := newWorld()
	first, last := w.layout(t, false), filepath.Join(t.TempDir(), "new")
	chain := []string{"oci-layout:" + first + ":1.4", realRegistry(t, true) + "/a:x", realRegistry(t, false) + "/b/c:y", "oci-layout:" + last + ":z"}
	for i := range len(chain) - 1 {
		d, err := Copy(t.Context(), parse(t, chain[i]), parse(t, chain[i+1]), options(t))
		if err != nil {
			t.Fatalf("%s to %s: %v", chain[i], chain[i+1], err)
		}
		if d.Digest != w.index || d.MediaType != typeIndex {
			t.Errorf("%+v", d)
		}
	}
	for d, b := range w.blobs {
		got, err := os.ReadFile(filepath.Join(last, "blobs/sha256", d.Encoded()))
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %v", d, err)
		}
	}
	for _, ref := range []string{"oci-layout:" + last, chain[3]} {
		res, err := Resolve(t.Context(), parse(t, ref), options(t))
		if err != nil {
			t.Fatal(err)
		}
		whole(t, res, w)
	}
	raw, err := os.ReadFile(filepath.Join(last, "index.json"))
	if err != nil || !bytes.Contains(raw, []byte(`"kind":"dev.cosignproject.cosign/imageIndex"`)) {
		t.Errorf("cosign would not find the image: %s", raw)
	}
	// Another image under the same tag takes its place.
	if _, err := Copy(t.Context(), parse(t, "oci-layout:"+first+"@"+string(w.other)), parse(t, chain[3]), options(t)); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.Platform.Architecture = "arm64"
	if res, err := Resolve(t.Context(), parse(t, chain[3]), o); err != nil || res.Artifact.Digest() != w.other {
		t.Errorf("%v", err)
	}
}

func TestCopyRefuses(t *testing.T) {
	w := newWorld()
	for name, v := range w.victims() {
		dir := w.layout(t, true)
		path := filepath.Join(dir, "blobs/sha256", v.digest.Encoded())
		if err := os.WriteFile(path, append(bytes.Clone(w.blobs[v.digest]), ' '), 0o600); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "to")
		for _, target := range []string{"oci-layout:" + to + ":x", realRegistry(t, true) + "/agents/coder:x"} {
			_, err := Copy(t.Context(), parse(t, "oci-layout:"+dir+":1.4"), parse(t, target), options(t))
			if e, ok := reason.Of(err); !ok || e.Code != v.code {
				t.Errorf("%s to %s: %v, want %s", name, target, err, v.code)
			}
		}
		if _, err := os.Lstat(to); err == nil {
			t.Errorf("%s: a layout without an image is left", name)
		}
	}
	dir := w.layout(t, true)
	_, err := Copy(t.Context(), parse(t, "oci-layout:"+dir+":1.4"), parse(t, "registry.example/x:1@"+aDigest), options(t))
	wantCode(t, err, reason.MismatchManifest)
	_, err = Copy(t.Context(), parse(t, "oci-layout:"+dir+":1.4"), parse(t, "oci-archive:/x"), options(t))
	wantCode(t, err, reason.ReferenceNotImage)
}

// TestKeep adopts an archive under a name, with evidence of the operator's
// own, runs from the store, and copies from there.
func TestKeep(t *testing.T) {
	files, _, _ := savedFiles(t, "x:1")
	tries := 0
	o := noDial(options(t), &tries)
	res, err := Resolve(t.Context(), parse(t, "docker-archive:"+writeTar(t, files)), o)
	if err != nil {
		t.Fatal(err)
	}
	name := parse(t, "registry.example/agents/coder:1.4")
	raw := aBundle(cosignSign, "adopted")
	if err := Keep(o, name, res, Attachment{From: "adopt", Subject: res.Artifact.Digest(), MediaType: bundleV03, ArtifactType: bundleV03, Raw: raw}); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{name.String(), "registry.example/agents/coder@" + string(res.Root.Digest)} {
		for _, pull := range []Pull{Missing, Never} {
			o.Pull = pull
			got, err := Resolve(t.Context(), parse(t, ref), o)
			if err != nil || got.Artifact.Digest() != res.Artifact.Digest() || len(got.Problems) != 0 {
				t.Fatalf("%v, %v", problemCodes(got.Problems), err)
			}
			if len(got.Attachments) != 1 || got.Attachments[0].Where != Stored || !bytes.Equal(got.Attachments[0].Raw, raw) || got.Attachments[0].Digest != digest.FromBytes(raw) {
				t.Errorf("%+v", got.Attachments)
			}
			if got.Artifact.Ref().Name() != "registry.example/agents/coder" || !got.Local {
				t.Errorf("%v, local %v", got.Artifact.Ref(), got.Local)
			}
		}
	}
	o.Pull = Never
	to := filepath.Join(t.TempDir(), "to")
	if _, err := Copy(t.Context(), name, parse(t, "oci-layout:"+to+":1.4"), o); err != nil {
		t.Fatal(err)
	}
	got, err := Resolve(t.Context(), parse(t, "oci-layout:"+to), options(t))
	if err != nil || got.Artifact.Digest() != res.Artifact.Digest() || len(got.Attachments) != 1 || !bytes.Equal(got.Attachments[0].Raw, raw) {
		t.Errorf("%v, %v", got.Attachments, err)
	}
	if tries != 0 {
		t.Errorf("%d sockets were opened", tries)
	}

	for _, c := range []struct {
		ref  string
		code reason.Code
	}{{"oci-layout:/x", reason.ReferenceNotImage}, {"registry.example/x@" + aDigest, reason.MismatchManifest}} {
		wantCode(t, Keep(o, parse(t, c.ref), res), c.code)
	}
	wantCode(t, Keep(o, name, Result{}), reason.InternalFault)
}

// TestCopyNeverWholeIndex: an index of which the store has one platform only
// cannot be copied from there.
func TestCopyNeverWholeIndex(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	o := options(t)
	if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
		t.Fatal(err)
	}
	o.Pull = Never
	_, err := Copy(t.Context(), s.ref(t), parse(t, "oci-layout:"+filepath.Join(t.TempDir(), "to")), o)
	wantCode(t, err, reason.PullNever)
}
