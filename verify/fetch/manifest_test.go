package fetch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	typeManifest = ocispec.MediaTypeImageManifest
	typeIndex    = ocispec.MediaTypeImageIndex
	typeConfig   = ocispec.MediaTypeImageConfig
	typeLayer    = ocispec.MediaTypeImageLayerGzip
)

var aDigest = string(digest.FromString("a"))

// edit is a good manifest with pieces of its text replaced.
func edit(pairs ...string) string {
	good := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":3}]}`,
		typeManifest, typeConfig, aDigest, typeLayer, digest.FromString("b"))
	return strings.NewReplacer(pairs...).Replace(good)
}

func TestManifestRefuses(t *testing.T) {
	layer := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":3}`, typeLayer, digest.FromString("b"))
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, typeIndex)
	for _, c := range []struct {
		name, declared, body string
		code                 reason.Code
	}{
		{"good", typeManifest, edit(), ""},
		{"good-parameter", typeManifest + "; charset=utf-8", edit(), ""},
		{"good-undeclared", "", edit(), ""},
		{"good-untyped", typeManifest, edit(`"mediaType":"`+typeManifest+`",`, ""), ""},
		{"good-neither", "", edit(`"mediaType":"`+typeManifest+`",`, ""), ""},
		{"good-docker", dockerManifest, edit(typeManifest, dockerManifest, typeConfig, dockerConfig), ""},
		{"good-index", typeIndex, index, ""},
		{"good-empty-data", typeManifest, edit(typeConfig, ocispec.MediaTypeEmptyJSON, aDigest, string(digest.FromString("{}")), `"size":2`, `"size":2,"data":"e30="`), reason.ConfigMediaType},
		{"both", typeManifest, edit(`"layers":`, `"manifests":[],"layers":`), reason.ManifestConfused},
		{"both-as-index", typeIndex, edit(typeManifest, typeIndex, `"layers":`, `"manifests":[],"layers":`), reason.ManifestConfused},
		{"index-with-config", typeIndex, strings.Replace(index, `"manifests"`, `"config":{},"manifests"`, 1), reason.ManifestConfused},
		{"index-as-manifest", typeManifest, strings.Replace(index, typeIndex, typeManifest, 1), reason.ManifestMalformed},
		{"manifest-as-index", typeIndex, edit(typeManifest, typeIndex), reason.ManifestMalformed},
		{"untyped-index-as-manifest", typeManifest, `{"schemaVersion":2,"manifests":[]}`, reason.ManifestMalformed},
		{"content-type-lies", typeIndex, edit(), reason.ManifestMediaType},
		{"body-lies", typeManifest, edit(typeManifest, dockerManifest), reason.ManifestMediaType},
		{"unknown-type", "application/json", edit(typeManifest, "application/json"), reason.ManifestMediaType},
		{"schema1-declared", dockerSigned1, edit(), reason.ManifestSchema1},
		{"schema1-body", typeManifest, edit(`"schemaVersion":2`, `"schemaVersion":1`), reason.ManifestSchema1},
		{"schema1-layers", typeManifest, edit(`"layers":`, `"fsLayers":[],"layers":`), reason.ManifestSchema1},
		{"schema3", typeManifest, edit(`"schemaVersion":2`, `"schemaVersion":3`), reason.ManifestMalformed},
		{"no-schema", typeManifest, edit(`"schemaVersion":2,`, ``), reason.ManifestMalformed},
		{"no-config", typeManifest, edit(`"config"`, `"other"`), reason.ManifestMalformed},
		{"null-manifests", typeIndex, strings.Replace(index, "[]", "null", 1), reason.ManifestMalformed},
		{"duplicate", typeManifest, edit(`"layers":`, `"layers":[],"layers":`), reason.JSONDuplicateKey},
		{"variant", typeManifest, edit(`"layers":`, `"Layers":[],"layers":`), reason.JSONVariantKey},
		{"variant-alone", typeManifest, edit(`"layers":`, `"Layers":`), reason.JSONVariantKey},
		{"variant-digest", typeManifest, edit(`"digest":`, `"Digest":`), reason.JSONVariantKey},
		{"trailing", typeManifest, edit() + "{}", reason.JSONTrailing},
		{"not-json", typeManifest, "<html>", reason.JSONMalformed},
		{"empty", typeManifest, "", reason.JSONMalformed},
		{"wrong-type", typeManifest, edit(`"size":3`, `"size":"3"`), reason.JSONMalformed},
		{"sha512", typeManifest, edit(aDigest, "sha512:"+strings.Repeat("a", 128)), reason.DigestUnsupported},
		{"traversal", typeManifest, edit(aDigest, "sha256:../../../etc/passwd"), reason.DigestUnsupported},
		{"upper-case", typeManifest, edit(aDigest, strings.ToUpper(aDigest)), reason.DigestUnsupported},
		{"no-digest", typeManifest, edit(aDigest, ""), reason.DigestUnsupported},
		{"negative", typeManifest, edit(`"size":3`, `"size":-1`), reason.DescriptorSize},
		{"enormous", typeManifest, edit(`"size":3`, `"size":99999999999999`), reason.DescriptorSize},
		{"urls", typeManifest, edit(`"size":3`, `"size":3,"urls":["https://elsewhere.example/layer"]`), reason.DescriptorURLs},
		{"data", typeManifest, edit(`"size":3`, `"size":3,"data":"YQ=="`), reason.DescriptorData},
		{"data-right", typeManifest, edit(`"size":2`, `"size":1,"data":"YQ=="`), reason.DescriptorData},
		{"data-object", typeManifest, edit(`"size":3`, `"size":3,"data":{"a":1}`), reason.DescriptorData},
		{"subject-traversal", typeManifest, edit(`"layers":`, `"subject":{"digest":"sha256:.."},"layers":`), reason.DigestUnsupported},
		{"too-many-layers", typeManifest, edit(layer, strings.Repeat(layer+",", maxLayers)+layer), reason.LayersTooMany},
		{"too-many-manifests", typeIndex, strings.Replace(index, "[]", "["+strings.Repeat(layer+",", maxManifests)+layer+"]", 1), reason.IndexTooMany},
		{"foreign", typeManifest, edit(typeLayer, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), reason.LayerForeign},
		{"foreign-docker", typeManifest, edit(typeLayer, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), reason.LayerForeign},
		{"layer-type", typeManifest, edit(typeLayer, "application/octet-stream"), reason.LayerMediaType},
		{"encrypted", typeManifest, edit(typeLayer, typeLayer+"+encrypted"), reason.LayerMediaType},
		{"not-an-image", typeManifest, edit(typeConfig, "application/vnd.cncf.helm.config.v1+json"), reason.ConfigMediaType},
		{"huge-config", typeManifest, edit(`"size":2`, `"size":4194305`), reason.ConfigTooLarge},
	} {
		m, err := parseManifest("manifest", []byte(c.body), c.declared)
		if err == nil && !m.index() {
			err = checkImage("manifest", m)
		}
		if c.code == "" {
			if err != nil || m.MediaType == "" {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if e, ok := reason.Of(err); !ok || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(edit()), typeManifest)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+aDigest+`","platform":{"os":"linux","architecture":"amd64"}}]}`), "")
	f.Fuzz(func(t *testing.T, raw []byte, declared string) {
		m, err := parseManifest("manifest", raw, declared)
		if err != nil {
			return
		}
		if !json.Valid(raw) || m.index() == (m.Config != nil) || m.index() && m.Layers != nil || !m.index() && m.Manifests != nil {
			t.Fatalf("accepts %q", raw)
		}
		for _, d := range append(m.Layers, m.Manifests...) {
			if len(d.Digest) != 71 || strings.ContainsAny(string(d.Digest), "./") {
				t.Fatalf("accepts digest %q", d.Digest)
			}
		}
		if m.index() {
			choose("index", m, platform)
		}
	})
}

// serveImage serves one manifest under the tag, and returns what resolving it
// ends in.
func resolveRoot(t *testing.T, w *world, root digest.Digest) error {
	t.Helper()
	s := serve(t, w)
	s.over = func(path string, rw http.ResponseWriter, _ *http.Request) bool {
		if path != "manifests/1.4" {
			return false
		}
		rw.Header().Set("Content-Type", w.types[root])
		rw.Write(w.blobs[root])
		return true
	}
	_, err := Resolve(t.Context(), s.ref(t), options(t))
	return err
}

func TestIndexRefuses(t *testing.T) {
	w := newWorld()
	entry := func(d digest.Digest, mediaType, os, arch string, more func(*ocispec.Descriptor)) ocispec.Descriptor {
		e := w.desc(d, mediaType)
		e.Platform = &ocispec.Platform{OS: os, Architecture: arch}
		if more != nil {
			more(&e)
		}
		return e
	}
	index := func(entries ...ocispec.Descriptor) digest.Digest {
		return w.manifest(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": append([]ocispec.Descriptor{}, entries...)})
	}
	good := entry(w.image, typeManifest, "linux", "amd64", nil)
	arm := entry(w.other, typeManifest, "linux", "arm64", nil)
	for _, c := range []struct {
		name string
		root digest.Digest
		code reason.Code
	}{
		{"good", index(arm, good), ""},
		{"attestation-first", index(entry(w.other, typeManifest, "unknown", "unknown", nil), good), ""},
		{"feature-first", index(entry(w.other, typeManifest, "linux", "amd64", func(d *ocispec.Descriptor) { d.Platform.OSFeatures = []string{"x"} }), good), ""},
		{"absent", index(arm, entry(w.other, typeManifest, "unknown", "unknown", nil), entry(w.other, typeManifest, "windows", "amd64", nil)), reason.PlatformAbsent},
		{"empty", index(), reason.PlatformAbsent},
		{"no-platform", index(w.desc(w.image, typeManifest)), reason.PlatformAbsent},
		{"nested", index(entry(w.index, typeIndex, "linux", "amd64", nil)), reason.IndexNested},
		{"nested-bare", index(w.desc(w.index, typeIndex)), reason.IndexNested},
		{"nested-lying", index(entry(w.index, typeManifest, "linux", "amd64", nil)), reason.ManifestMediaType},
		{"child-type", index(entry(w.image, dockerManifest, "linux", "amd64", nil)), reason.ManifestMediaType},
		{"child-unknown", index(entry(w.image, "application/json", "linux", "amd64", nil)), reason.ManifestMediaType},
		{"child-size", index(entry(w.image, typeManifest, "linux", "amd64", func(d *ocispec.Descriptor) { d.Size-- })), reason.MismatchManifest},
		{"child-huge", index(entry(w.image, typeManifest, "linux", "amd64", func(d *ocispec.Descriptor) { d.Size = maxManifest + 1 })), reason.ManifestTooLarge},
		{"child-swapped", index(entry(w.other, typeManifest, "linux", "amd64", nil)), reason.ConfigPlatform},
	} {
		err := resolveRoot(t, w, c.root)
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		e, ok := reason.Of(err)
		if !ok || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
		if c.name == "absent" && (e.Found != "linux/arm64, windows/amd64" || e.Next != "--platform linux/arm64") {
			t.Errorf("absent: found %q, next %q", e.Found, e.Next)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	w := newWorld()
	diff := string(digest.FromBytes(tarballOf("a", "base")))
	config := func(body string) digest.Digest {
		d := w.put([]byte(body))
		return w.manifest(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest,
			"config": w.desc(d, typeConfig), "layers": []ocispec.Descriptor{w.desc(w.layers[0], typeLayer)}})
	}
	good := `{"os":"linux","architecture":"amd64","config":{"Labels":{"a":"1","A":"2"}},"rootfs":{"type":"layers","diff_ids":["` + diff + `"]}}`
	for _, c := range []struct {
		name, body string
		code       reason.Code
	}{
		{"good", good, ""},
		{"docker-extras", strings.Replace(good, `{"os"`, `{"id":"x","container_config":{"Env":null,"env":1},"docker_version":"28","os"`, 1), ""},
		{"arch", strings.Replace(good, "amd64", "arm64", 1), reason.ConfigPlatform},
		{"os", strings.Replace(good, "linux", "windows", 1), reason.ConfigPlatform},
		{"no-os", strings.Replace(good, `"os":"linux",`, "", 1), reason.ConfigPlatform},
		{"variant", strings.Replace(good, `"os"`, `"variant":"v3","os"`, 1), reason.ConfigPlatform},
		{"fewer", strings.Replace(good, `"`+diff+`"`, "", 1), reason.ConfigDiffIDs},
		{"more", strings.Replace(good, `"`+diff+`"`, `"`+diff+`","`+diff+`"`, 1), reason.ConfigDiffIDs},
		{"diff-digest", strings.Replace(good, diff, "sha256:../x", 1), reason.DigestUnsupported},
		{"rootfs-type", strings.Replace(good, `"layers"`, `"other"`, 1), reason.ConfigMalformed},
		{"no-rootfs", `{"os":"linux","architecture":"amd64"}`, reason.ConfigMalformed},
		{"duplicate", strings.Replace(good, `{"os"`, `{"os":"windows","os"`, 1), reason.JSONDuplicateKey},
		{"variant-key", strings.Replace(good, `{"os"`, `{"OS":"windows","os"`, 1), reason.JSONVariantKey},
		{"duplicate-env", strings.Replace(good, `{"Labels"`, `{"Env":[],"Env":[],"Labels"`, 1), reason.JSONDuplicateKey},
		{"empty", "", reason.JSONMalformed},
		{"array", "[]", reason.JSONMalformed},
		{"command-as-text", strings.Replace(good, `{"Labels"`, `{"Cmd":"/bin/sh","Labels"`, 1), reason.JSONMalformed},
	} {
		err := resolveRoot(t, w, config(c.body))
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if e, ok := reason.Of(err); !ok || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
}

// TestStoredSize: a blob in the store does not make a lie about its size true.
func TestStoredSize(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	o := options(t)
	if _, err := Resolve(t.Context(), s.ref(t), o); err != nil {
		t.Fatal(err)
	}
	e := w.desc(w.image, typeManifest)
	e.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	e.Size++
	w.index = w.manifest(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []ocispec.Descriptor{e}})
	_, err := Resolve(t.Context(), s.ref(t).WithDigest(w.index), o)
	wantCode(t, err, reason.MismatchManifest)
}

// TestPlatformVariants: arm without a variant in the config is what the index
// says it is.
func TestPlatformVariants(t *testing.T) {
	for _, c := range []struct {
		want, variant string
		ok            bool
	}{
		{"linux/arm/v7", "", true}, {"linux/arm/v6", "", true}, {"linux/arm/v6", "v6", true}, {"linux/arm/v6", "v7", false},
		{"linux/arm64", "v8", true}, {"linux/arm64", "", true},
	} {
		want, err := artifact.ParsePlatform(c.want)
		if err != nil {
			t.Fatal(err)
		}
		raw := fmt.Sprintf(`{"os":"linux","architecture":%q,"variant":%q,"rootfs":{"type":"layers","diff_ids":[]}}`, want.Architecture, c.variant)
		if _, err := parseConfig("config", []byte(raw), want, 0); (err == nil) != c.ok {
			t.Errorf("want %s, config variant %q: %v", c.want, c.variant, err)
		}
	}
}
