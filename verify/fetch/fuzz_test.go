package fetch

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
)

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"os":"linux","architecture":"amd64","config":{"Env":["A=1"],"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":["` + aDigest + `"]}}`))
	f.Add([]byte(`{"os":"linux","architecture":"amd64","history":[{"created":"2026-01-01T00:00:00Z"}],"rootfs":{"type":"layers","diff_ids":[]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseConfig("config", raw, platform, 1)
		if err != nil {
			return
		}
		d := digest.FromBytes(raw)
		if _, err := artifact.Pin(artifact.Pinned{Ref: parse(t, "a"), Manifest: d, Platform: platform, Config: c, ConfigDigest: d,
			Layers: []artifact.Layer{{Digest: d, DiffID: c.RootFS.DiffIDs[0]}}}); err != nil {
			t.Fatalf("accepts what cannot be pinned: %v", err)
		}
	})
}

// FuzzArchive reads an archive in both ways, as far as its table and manifest.
func FuzzArchive(f *testing.F) {
	config := `{"rootfs":{"diff_ids":["` + aDigest + `"]}}`
	for _, files := range []map[string][]byte{
		{"manifest.json": []byte(`[{"Config":"c","RepoTags":["a:1"],"Layers":["l"]}]`), "c": []byte(config), "l": []byte("layer")},
		{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": []byte(indexJSON(`{"mediaType":"` + typeManifest + `","digest":"` + aDigest + `","size":1}`))},
	} {
		raw, err := os.ReadFile(writeTar(f, files))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	path := filepath.Join(f.TempDir(), "fuzz.tar")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"oci-archive:", "docker-archive:"} {
			o, err := Options{}.normal().open(t.Context(), parse(t, word+path), "pull")
			if err != nil {
				continue
			}
			if in, err := o.root(t.Context()); err == nil {
				in.Close()
			}
			o.referrers(t.Context(), digest.Digest(aDigest))
			o.close()
		}
	})
}

func FuzzReferrers(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"`+typeManifest+`","digest":"`+aDigest+`","size":2,"artifactType":"x"}]}`), typeIndex)
	f.Fuzz(func(t *testing.T, raw []byte, contentType string) {
		list, err := parseReferrers("list", raw, contentType, ReferrersAPI)
		if err != nil {
			return
		}
		for _, r := range list {
			if len(r.Digest) != 71 || r.Size < 0 || r.Size > maxManifest {
				t.Fatalf("accepts %+v", r)
			}
		}
		if !bytes.Contains(raw, []byte("manifests")) {
			t.Fatalf("accepts %q", raw)
		}
	})
}
