package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// world is an index of two platforms, an image, and bundles attached to both,
// as bare blobs.
type world struct {
	blobs                      map[digest.Digest][]byte
	types                      map[digest.Digest]string // of manifests
	index, image, other        digest.Digest
	config                     digest.Digest
	layers                     []digest.Digest
	imageReferrer, imageBundle digest.Digest
	indexReferrer, indexBundle digest.Digest
	tags                       map[string]digest.Digest // besides 1.4
}

func (w *world) put(b []byte) digest.Digest {
	d := digest.FromBytes(b)
	w.blobs[d] = b
	return d
}

func (w *world) json(v any) (digest.Digest, int64) {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return w.put(raw), int64(len(raw))
}

func (w *world) desc(d digest.Digest, mediaType string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(w.blobs[d]))}
}

func (w *world) manifest(mediaType string, v any) digest.Digest {
	d, _ := w.json(v)
	w.types[d] = mediaType
	return d
}

func (w *world) clone() *world {
	c := *w
	c.blobs, c.types, c.tags = maps.Clone(w.blobs), maps.Clone(w.types), maps.Clone(w.tags)
	return &c
}

func tarballOf(name, text string) []byte {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
		panic(err)
	}
	io.WriteString(t, text)
	t.Close()
	return b.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

var platform = artifact.Platform{OS: "linux", Architecture: "amd64"}

// imageOf adds an image for a platform and returns its manifest and config.
func (w *world) imageOf(arch string, tars ...[]byte) (m, config digest.Digest, layers []digest.Digest) {
	var descs []ocispec.Descriptor
	var diffs []digest.Digest
	for _, t := range tars {
		d := w.put(gzipped(t))
		layers = append(layers, d)
		descs = append(descs, w.desc(d, ocispec.MediaTypeImageLayerGzip))
		diffs = append(diffs, digest.FromBytes(t))
	}
	config, _ = w.json(ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: arch}, Config: ocispec.ImageConfig{Cmd: []string{"/agent"}},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffs}})
	m = w.manifest(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": w.desc(config, ocispec.MediaTypeImageConfig), "layers": descs})
	return m, config, layers
}

// attachTo adds a referrer with a bundle, as cosign writes it.
func (w *world) attachTo(subject digest.Digest, text string) (m, bundle digest.Digest) {
	bundle = w.put([]byte(`{"mediaType":"` + bundleV03 + `","text":"` + text + `"}`))
	empty := w.put([]byte("{}"))
	m = w.manifest(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": bundleV03,
		"config": w.desc(empty, ocispec.MediaTypeEmptyJSON), "layers": []ocispec.Descriptor{w.desc(bundle, bundleV03)}, "subject": w.desc(subject, w.types[subject])})
	return m, bundle
}

func newWorld() *world {
	w := &world{blobs: map[digest.Digest][]byte{}, types: map[digest.Digest]string{}, tags: map[string]digest.Digest{}}
	w.image, w.config, w.layers = w.imageOf("amd64", tarballOf("a", "base"), tarballOf("b", strings.Repeat("top", 1000)))
	w.other, _, _ = w.imageOf("arm64", tarballOf("a", "arm"))
	entry := func(d digest.Digest, arch string) ocispec.Descriptor {
		e := w.desc(d, ocispec.MediaTypeImageManifest)
		e.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		return e
	}
	w.index = w.manifest(ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex,
		"manifests": []ocispec.Descriptor{entry(w.other, "arm64"), entry(w.image, "amd64")}})
	w.imageReferrer, w.imageBundle = w.attachTo(w.image, "image")
	w.indexReferrer, w.indexBundle = w.attachTo(w.index, "index")
	return w
}

// layout writes the world as an OCI layout; listed puts the referrers into
// index.json, as most tools do, and cosign save does not.
func (w *world) layout(t testing.TB, listed bool) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range w.layoutFiles(listed) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (w *world) layoutFiles(listed bool) map[string][]byte {
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	for d, b := range w.blobs {
		files["blobs/sha256/"+d.Encoded()] = b
	}
	root := w.desc(w.index, w.types[w.index])
	root.Annotations = map[string]string{ocispec.AnnotationRefName: "1.4"}
	list := []ocispec.Descriptor{root}
	if listed {
		for _, d := range []digest.Digest{w.imageReferrer, w.indexReferrer} {
			e := w.desc(d, ocispec.MediaTypeImageManifest)
			e.ArtifactType = bundleV03
			list = append(list, e)
		}
	}
	files["index.json"], _ = json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: list})
	files["index.json"] = bytes.Replace(files["index.json"], []byte(`"schemaVersion":0`), []byte(`"schemaVersion":2`), 1)
	return files
}

func writeTar(t testing.TB, files map[string][]byte) string {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		raw := files[name]
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(raw))}); err != nil {
			t.Fatal(err)
		}
		tw.Write(raw)
	}
	tw.Close()
	path := filepath.Join(t.TempDir(), "archive.tar")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// server answers registry requests for a world, or as a test says.
type server struct {
	*httptest.Server
	world    *world
	requests atomic.Int64
	// over answers in the server's place if it returns true. path is below
	// /v2/r/.
	over      func(path string, w http.ResponseWriter, r *http.Request) bool
	referrers bool
}

func serve(t testing.TB, w *world) *server {
	t.Helper()
	s := &server{world: w, referrers: true}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	return s
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	path := strings.TrimPrefix(r.URL.Path, "/v2/r/")
	if s.over != nil && s.over(path, w, r) {
		return
	}
	if path == "/v2/" {
		return
	}
	verb, what, _ := strings.Cut(path, "/")
	d := digest.Digest(what)
	switch verb {
	case "manifests":
		if what == "1.4" {
			d = s.world.index
		} else if tagged, ok := s.world.tags[what]; ok {
			d = tagged
		}
		if raw, ok := s.world.blobs[d]; ok && s.world.types[d] != "" {
			w.Header().Set("Content-Type", s.world.types[d])
			w.Header().Set("Docker-Content-Digest", string(d))
			w.Write(raw)
			return
		}
	case "blobs":
		if raw, ok := s.world.blobs[d]; ok {
			w.Write(raw)
			return
		}
	case "referrers":
		if s.referrers {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			w.Write(s.world.listReferrers(d))
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

func (w *world) listReferrers(subject digest.Digest) []byte {
	list := []ocispec.Descriptor{}
	for referrer, s := range map[digest.Digest]digest.Digest{w.imageReferrer: w.image, w.indexReferrer: w.index} {
		if s == subject && referrer != "" {
			e := w.desc(referrer, w.types[referrer])
			e.ArtifactType = ocispec.MediaTypeEmptyJSON // as some registries have it
			list = append(list, e)
		}
	}
	raw, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list})
	return raw
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *server) ref(t testing.TB) artifact.Reference { return parse(t, s.host()+"/r:1.4") }

// realRegistry runs the registry of go-containerregistry on loopback.
func realRegistry(t testing.TB, referrers bool) string {
	t.Helper()
	s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(referrers)))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func parse(t testing.TB, s string) artifact.Reference {
	t.Helper()
	r, err := artifact.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func options(t testing.TB) Options {
	t.Helper()
	st, err := content.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return Options{Store: st, Platform: platform, Timeout: time.Minute}
}

func wantCode(t testing.TB, err error, code reason.Code) {
	t.Helper()
	if e, ok := reason.Of(err); !ok || e.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// problemCodes are the codes of problems, sorted and without repetition.
func problemCodes(problems []Problem) string {
	seen := map[string]bool{}
	var all []string
	for _, p := range problems {
		if s := fmt.Sprintf("%s %s", p.Where, p.Err.Code); !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	return strings.Join(all, ", ")
}

// whole holds a result to be all of the world, with both bundles.
func whole(t testing.TB, res Result, w *world) {
	t.Helper()
	a := res.Artifact
	if a.Index() != w.index || a.Digest() != w.image || a.ConfigDigest() != w.config || len(a.Layers()) != 2 || a.Config().Config.Cmd[0] != "/agent" {
		t.Errorf("resolved %v %v %v, %d layers", a.Index(), a.Digest(), a.ConfigDigest(), len(a.Layers()))
	}
	raws := map[string]digest.Digest{}
	for _, x := range res.Attachments {
		if x.Raw != nil {
			raws[string(x.Raw)] = x.Subject
		}
	}
	if raws[string(w.blobs[w.imageBundle])] != w.image || raws[string(w.blobs[w.indexBundle])] != w.index || len(raws) != 2 {
		t.Errorf("found %v", res.Attachments)
	}
	if len(res.Problems) != 0 {
		t.Errorf("problems: %v", problemCodes(res.Problems))
	}
}

// forge overwrites a record with one that this store did not write: what
// another store, with another key, has under the name.
func forge(t testing.TB, st *content.Store, name string) {
	t.Helper()
	dir := st.Dir()
	other, err := content.Open(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.SetRef(name, []byte("x")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(other.Dir(), "refs"))
	if err != nil || len(entries) != 1 {
		t.Fatal(err)
	}
	file := entries[0].Name()
	raw, err := os.ReadFile(filepath.Join(other.Dir(), "refs", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "refs", file)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "refs", file), raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
