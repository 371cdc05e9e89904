package fetch

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestLayout resolves the same world from a folder and an archive, with the
// referrers listed in index.json and, as cosign save leaves them, not.
func TestLayout(t *testing.T) {
	w := newWorld()
	for name, listed := range map[string]bool{"listed": true, "saved": false} {
		dir := w.layout(t, listed)
		archive := writeTar(t, w.layoutFiles(listed))
		for _, ref := range []string{
			"oci-layout:" + dir, "oci-layout:" + dir + ":1.4", "oci-layout:" + dir + "@" + string(w.index),
			"oci-archive:" + archive, "oci-archive:" + archive + ":1.4", "oci-archive:" + archive + "@" + string(w.index),
			"docker-archive:" + archive,
		} {
			tries := 0
			o := noDial(options(t), &tries)
			res, err := Resolve(t.Context(), parse(t, ref), o)
			if err != nil {
				t.Errorf("%s %s: %v", name, ref, err)
				continue
			}
			whole(t, res, w)
			if !res.Local || tries != 0 || res.Attachments[0].Where != Layout {
				t.Errorf("%s %s: local %v, %d sockets, %v", name, ref, res.Local, tries, res.Attachments[0])
			}
			if err := readLayers(o.Store, res); err != nil {
				t.Error(err)
			}
		}
		// A manifest that only the index lists.
		res, err := Resolve(t.Context(), parse(t, "oci-layout:"+dir+"@"+string(w.image)), options(t))
		if err != nil || res.Artifact.Index() != "" || res.Artifact.Digest() != w.image || len(res.Attachments) != 1 {
			t.Errorf("%s, the manifest alone: %v, %v", name, res.Attachments, err)
		}
	}
}

// rewrite replaces a file of a layout.
func rewrite(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func indexJSON(entries ...string) string {
	return `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`
}

func (w *world) entry(d digest.Digest, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, w.types[d], d, len(w.blobs[d]), more)
}

func named(key, value string) string { return fmt.Sprintf(`,"annotations":{%q:%q}`, key, value) }

func TestLayoutChoice(t *testing.T) {
	w := newWorld()
	dir := w.layout(t, false)
	amd, arm := w.image, w.other
	for _, c := range []struct {
		name, suffix, index string
		want                digest.Digest
		code                reason.Code
	}{
		{"one", "", indexJSON(w.entry(amd, "")), amd, ""},
		{"one-twice", "", indexJSON(w.entry(amd, ""), w.entry(amd, named(ocispec.AnnotationRefName, "x"))), amd, ""},
		{"two", "", indexJSON(w.entry(amd, ""), w.entry(arm, "")), "", reason.ReferenceAmbiguous},
		{"two-tagged", ":x", indexJSON(w.entry(arm, ""), w.entry(amd, named(ocispec.AnnotationRefName, "x"))), amd, ""},
		{"full-name", ":x", indexJSON(w.entry(amd, named(ocispec.AnnotationRefName, "registry.example/a:x"))), amd, ""},
		{"containerd", ":x", indexJSON(w.entry(amd, named("io.containerd.image.name", "registry.example/a:x"))), amd, ""},
		{"no-such-tag", ":y", indexJSON(w.entry(amd, named(ocispec.AnnotationRefName, "x"))), "", reason.ImageAbsent},
		{"none", "", indexJSON(), "", reason.ImageAbsent},
		{"no-such-digest", "@" + aDigest, indexJSON(w.entry(amd, "")), "", reason.ImageAbsent},
		{"beside-a-referrer", "", indexJSON(w.entry(w.imageReferrer, ""), w.entry(amd, "")), amd, ""},
		{"beside-cosign-sigs", "", indexJSON(w.entry(arm, named(kindAnnotation, kindSigs)), w.entry(amd, named(kindAnnotation, kindImage))), amd, ""},
		{"beside-a-fallback-tag", "", indexJSON(w.entry(w.index, named(ocispec.AnnotationRefName, "sha256-"+amd.Encoded())), w.entry(amd, "")), amd, ""},
	} {
		rewrite(t, dir, "index.json", c.index)
		res, err := Resolve(t.Context(), parse(t, "oci-layout:"+dir+c.suffix), options(t))
		if c.code != "" {
			if e, ok := reason.Of(err); !ok || e.Code != c.code {
				t.Errorf("%s: %v, want %s", c.name, err, c.code)
			}
			continue
		}
		if err != nil || res.Artifact.Digest() != c.want {
			t.Errorf("%s: %v, %v", c.name, res.Artifact.Digest(), err)
		}
		if legacy := strings.Contains(c.name, "cosign-sigs"); legacy != (len(res.Attachments) == 2 && res.Attachments[0].Where == LegacyTag) {
			t.Errorf("%s: %v", c.name, res.Attachments)
		}
	}
}

func TestLayoutRefuses(t *testing.T) {
	w := newWorld()
	good := indexJSON(w.entry(w.image, ""))
	for _, c := range []struct {
		name  string
		spoil func(dir string)
		code  reason.Code
	}{
		{"absent", func(dir string) { os.RemoveAll(dir) }, reason.LayoutUnreadable},
		{"no-version", func(dir string) { os.Remove(filepath.Join(dir, "oci-layout")) }, reason.LayoutUnreadable},
		{"other-version", func(dir string) { rewrite(t, dir, "oci-layout", `{"imageLayoutVersion":"2.0.0"}`) }, reason.LayoutMalformed},
		{"no-index", func(dir string) { os.Remove(filepath.Join(dir, "index.json")) }, reason.LayoutUnreadable},
		{"fifo", func(dir string) {
			os.Remove(filepath.Join(dir, "index.json"))
			fifo(filepath.Join(dir, "index.json"))
		}, reason.LayoutUnreadable},
		{"blob-fifo", func(dir string) {
			os.Remove(filepath.Join(dir, "blobs/sha256", w.config.Encoded()))
			fifo(filepath.Join(dir, "blobs/sha256", w.config.Encoded()))
		}, reason.LayoutUnreadable},
		{"huge-index", func(dir string) { rewrite(t, dir, "index.json", good+strings.Repeat(" ", maxManifest)) }, reason.ManifestTooLarge},
		{"index-trailing", func(dir string) { rewrite(t, dir, "index.json", good+"{}") }, reason.JSONTrailing},
		{"index-twice", func(dir string) {
			rewrite(t, dir, "index.json", strings.Replace(good, `"manifests"`, `"manifests":[],"manifests"`, 1))
		}, reason.JSONDuplicateKey},
		{"size-lie", func(dir string) {
			rewrite(t, dir, "index.json", strings.Replace(good, fmt.Sprintf(`"size":%d`, len(w.blobs[w.image])), `"size":3`, 1))
		}, reason.MismatchManifest},
		{"type-lie", func(dir string) { rewrite(t, dir, "index.json", strings.Replace(good, typeManifest, typeIndex, 1)) }, reason.ManifestMediaType},
	} {
		dir := w.layout(t, false)
		rewrite(t, dir, "index.json", good)
		c.spoil(dir)
		_, err := Resolve(t.Context(), parse(t, "oci-layout:"+dir), options(t))
		if e, ok := reason.Of(err); !ok || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
}

// TestN35Traversal: an index.json names blobs by digests that lead out of the
// layout: of the image, of evidence, and of cosign's older tags.
func TestN35Traversal(t *testing.T) {
	w := newWorld()
	for _, digest := range []string{"sha256:../../../../etc/passwd", "sha256:../../", "../../../etc/passwd", "sha256:" + strings.Repeat("../", 21) + "a", "sha512:" + strings.Repeat("a", 64)} {
		for _, marked := range []string{"", named(kindAnnotation, kindSigs), named(ocispec.AnnotationRefName, fallbackTag(w.image)+".sig")} {
			dir := w.layout(t, false)
			entry := strings.Replace(w.entry(w.imageReferrer, marked), string(w.imageReferrer), digest, 1)
			rewrite(t, dir, "index.json", indexJSON(w.entry(w.image, ""), entry))
			_, err := Resolve(t.Context(), parse(t, "oci-layout:"+dir), options(t))
			wantCode(t, err, reason.DigestUnsupported)
			files := w.layoutFiles(false)
			files["index.json"] = []byte(indexJSON(strings.Replace(w.entry(w.image, ""), string(w.image), digest, 1)))
			_, err = Resolve(t.Context(), parse(t, "oci-archive:"+writeTar(t, files)), options(t))
			wantCode(t, err, reason.DigestUnsupported)
		}
	}
	// A tag of that form is no tag of ours.
	for _, tag := range []string{"sha256-../../../etc/passwd.sig", "sha256-.sig", "sha256-" + strings.Repeat("A", 64) + ".sig", ".sig"} {
		if d, _, ok := cosignTag(tag); ok {
			t.Errorf("%q is taken for %s", tag, d)
		}
	}
}

// TestLayoutIgnoresStatements: a blob that mentions the subject and is no
// referrer is neither evidence nor a problem.
func TestLayoutIgnoresStatements(t *testing.T) {
	w := newWorld()
	w.put([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + w.image.Encoded() + `"}}]}`))
	w.put([]byte(`{"subject":{"digest":"` + string(w.other) + `"},"text":"` + string(w.image) + `"}`))
	w.manifest(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": w.desc(w.config, typeConfig), "layers": []any{},
		"subject": w.desc(w.other, typeManifest), "annotations": map[string]string{"not": string(w.image)}})
	res, err := Resolve(t.Context(), parse(t, "oci-layout:"+w.layout(t, true)), options(t))
	if err != nil {
		t.Fatal(err)
	}
	whole(t, res, w)
}

func TestArchiveRefuses(t *testing.T) {
	w := newWorld()
	files := w.layoutFiles(true)
	path := filepath.Join(t.TempDir(), "a.tar")
	tarOf := func(headers ...tar.Header) []byte {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, h := range headers {
			tw.WriteHeader(&h)
			tw.Write(make([]byte, h.Size))
		}
		tw.Close()
		return b.Bytes()
	}
	whole, err := os.ReadFile(writeTar(t, files))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		raw  []byte
		code reason.Code
	}{
		{"gzip", gzipped(whole), reason.ArchiveCompressed},
		{"zstd", append([]byte("\x28\xb5\x2f\xfd"), whole...), reason.ArchiveCompressed},
		{"empty", nil, reason.ArchiveMalformed},
		{"text", bytes.Repeat([]byte("text "), 1000), reason.ArchiveMalformed},
		{"truncated", tarOf(tar.Header{Name: "x", Size: 5000})[:1000], reason.ArchiveMalformed},
		{"twice", tarOf(tar.Header{Name: "index.json"}, tar.Header{Name: "./index.json"}), reason.ArchiveMalformed},
		{"upwards", tarOf(tar.Header{Name: "../index.json"}), reason.ArchiveMalformed},
		{"absolute", tarOf(tar.Header{Name: "/index.json"}), reason.ArchiveMalformed},
		{"no-layout", tarOf(tar.Header{Name: "x"}), reason.LayoutUnreadable},
		{"link-loop", tarOf(tar.Header{Name: "oci-layout", Typeflag: tar.TypeSymlink, Linkname: "oci-layout"}), reason.LayoutUnreadable},
		{"link-out", tarOf(tar.Header{Name: "oci-layout", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd"}), reason.LayoutUnreadable},
	} {
		if err := os.WriteFile(path, c.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Resolve(t.Context(), parse(t, "oci-archive:"+path), options(t))
		if e, ok := reason.Of(err); !ok || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
	_, err = Resolve(t.Context(), parse(t, "oci-archive:"+path+".none"), options(t))
	wantCode(t, err, reason.LayoutUnreadable)
}

// TestFiles reads detached evidence: one bundle, and one per line.
func TestFiles(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	rewrite(t, dir, "one", "{\n \"a\": 1\n}\n")
	rewrite(t, dir, "lines", "{\"a\":1}\n\n{\"b\":2}\n")
	o := options(t)
	o.Evidence = []string{filepath.Join(dir, "one"), filepath.Join(dir, "lines")}
	res, err := Resolve(t.Context(), parse(t, "oci-layout:"+w.layout(t, true)), o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range res.Attachments {
		if a.Where == File {
			got = append(got, string(a.Raw))
			if a.Digest != digest.FromBytes(a.Raw) || a.Subject != "" {
				t.Errorf("%+v", a)
			}
		}
	}
	if strings.Join(got, "|") != "{\n \"a\": 1\n}\n|{\"a\":1}|{\"b\":2}" {
		t.Errorf("read %q", got)
	}
	o.Evidence = []string{filepath.Join(dir, "none")}
	_, err = Resolve(t.Context(), parse(t, "oci-layout:"+w.layout(t, true)), o)
	wantCode(t, err, reason.EvidenceUnreadable)
	o.Evidence = []string{dir}
	_, err = Resolve(t.Context(), parse(t, "oci-layout:"+w.layout(t, true)), o)
	wantCode(t, err, reason.EvidenceUnreadable)
	huge := filepath.Join(dir, "huge")
	rewrite(t, dir, "huge", "")
	if err := os.Truncate(huge, MaxEvidence+1); err != nil {
		t.Fatal(err)
	}
	o.Evidence = []string{huge}
	_, err = Resolve(t.Context(), parse(t, "oci-layout:"+w.layout(t, true)), o)
	wantCode(t, err, reason.EvidenceTooLarge)
}

// TestBuildKit lists the attestation manifests of an index.
func TestBuildKit(t *testing.T) {
	w := newWorld()
	var index map[string]any
	if err := json.Unmarshal(w.blobs[w.index], &index); err != nil {
		t.Fatal(err)
	}
	index["manifests"] = append(index["manifests"].([]any), map[string]any{"mediaType": typeManifest, "digest": w.other, "size": len(w.blobs[w.other]),
		"platform":    map[string]any{"os": "unknown", "architecture": "unknown"},
		"annotations": map[string]any{"vnd.docker.reference.digest": w.image, "vnd.docker.reference.type": "attestation-manifest"}})
	w.index = w.manifest(typeIndex, index)
	w.indexReferrer, w.indexBundle = w.attachTo(w.index, "new index")
	res, err := Resolve(t.Context(), parse(t, "oci-layout:"+w.layout(t, true)), options(t))
	if err != nil {
		t.Fatal(err)
	}
	whole(t, res, w)
	if a := res.Attachments[len(res.Attachments)-1]; a.Where != InIndex || a.Subject != w.image || a.Digest != w.other || a.Raw != nil {
		t.Errorf("%+v", a)
	}
}
