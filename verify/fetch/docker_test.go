package fetch

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// savedFiles is what `docker save` writes, in its older form.
func savedFiles(t testing.TB, tags ...string) (map[string][]byte, []byte, []byte) {
	t.Helper()
	base, top := tarballOf("a", "base"), tarballOf("b", "top")
	config, err := json.Marshal(ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(base), digest.FromBytes(top)}}})
	if err != nil {
		t.Fatal(err)
	}
	name := digest.FromBytes(config).Encoded() + ".json"
	manifest, _ := json.Marshal([]savedImage{{Config: name, RepoTags: tags, Layers: []string{"1/layer.tar", "2/layer.tar"}}})
	return map[string][]byte{"manifest.json": manifest, name: config, "1/layer.tar": base, "2/layer.tar": top, "repositories": []byte("{}")}, base, top
}

func TestDockerArchive(t *testing.T) {
	files, base, _ := savedFiles(t, "coder:1.4", "coder:latest")
	path := writeTar(t, files)
	tries := 0
	var first digest.Digest
	for _, suffix := range []string{"", ":1.4", ":latest"} {
		o := noDial(options(t), &tries)
		res, err := Resolve(t.Context(), parse(t, "docker-archive:"+path+suffix), o)
		if err != nil {
			t.Fatal(err)
		}
		l := res.Artifact.Layers()
		if len(l) != 2 || l[0].Digest != digest.FromBytes(base) || l[0].DiffID != l[0].Digest || l[0].MediaType != ocispec.MediaTypeImageLayer || !res.Local {
			t.Errorf("layers %v", l)
		}
		if first == "" {
			first = res.Artifact.Digest()
		}
		if res.Artifact.Digest() != first {
			t.Error("the manifest that is made up is not always the same")
		}
		if err := readLayers(o.Store, res); err != nil {
			t.Error(err)
		}
	}
	if _, err := Resolve(t.Context(), parse(t, "docker-archive:"+path+"@"+string(first)), options(t)); err != nil {
		t.Error(err)
	}
	// The same bytes in another archive.
	res, err := Resolve(t.Context(), parse(t, "docker-archive:"+writeTar(t, files)), options(t))
	if err != nil || res.Artifact.Digest() != first {
		t.Errorf("%v, %v, want %v", res.Artifact.Digest(), err, first)
	}
	_, err = Resolve(t.Context(), parse(t, "docker-archive:"+path+"@"+aDigest), options(t))
	wantCode(t, err, reason.ImageAbsent)
	_, err = Resolve(t.Context(), parse(t, "docker-archive:"+path+":other"), options(t))
	wantCode(t, err, reason.ImageAbsent)
}

// TestDockerArchiveOfOthers: the library writes compressed layers, and names
// the config by its digest.
func TestDockerArchiveOfOthers(t *testing.T) {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(tarballOf("a", strings.Repeat("base", 1000)))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.tar")
	tag, err := name.NewTag("registry.example/a:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	res, err := Resolve(t.Context(), parse(t, "docker-archive:"+path+":1"), o)
	if err != nil {
		t.Fatal(err)
	}
	want, err := layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if l := res.Artifact.Layers(); l[0].Digest.String() != want.String() || l[0].MediaType != ocispec.MediaTypeImageLayerGzip || l[0].DiffID == l[0].Digest {
		t.Errorf("layers %v, want %v", l, want)
	}
	if err := readLayers(o.Store, res); err != nil {
		t.Error(err)
	}
	var _ v1.Image = img
}

func TestDockerArchiveRefuses(t *testing.T) {
	good, base, _ := savedFiles(t, "coder:1.4")
	var configName string
	for name := range good {
		if strings.HasSuffix(name, ".json") && name != "manifest.json" {
			configName = name
		}
	}
	edit := func(name string, f func(string) string) func(map[string][]byte) {
		return func(files map[string][]byte) { files[name] = []byte(f(string(files[name]))) }
	}
	for _, c := range []struct {
		name  string
		spoil func(map[string][]byte)
		code  reason.Code
	}{
		{"layer-flip", func(f map[string][]byte) { b := bytes.Clone(base); b[600] ^= 1; f["1/layer.tar"] = b }, reason.MismatchLayer},
		{"layer-extend", func(f map[string][]byte) { f["1/layer.tar"] = append(bytes.Clone(base), 0) }, reason.MismatchLayer},
		{"layer-truncate", func(f map[string][]byte) { f["1/layer.tar"] = base[:len(base)-1] }, reason.MismatchLayer},
		{"layer-gone", func(f map[string][]byte) { delete(f, "1/layer.tar") }, reason.ArchiveMalformed},
		{"layer-xz", func(f map[string][]byte) { f["1/layer.tar"] = []byte("\xfd7zXZ\x00rest") }, reason.LayerMediaType},
		{"config-flip", edit(configName, func(s string) string { return s + " " }), reason.MismatchConfig},
		{"config-gone", func(f map[string][]byte) { delete(f, configName) }, reason.ArchiveMalformed},
		{"config-upwards", edit("manifest.json", func(s string) string { return strings.Replace(s, configName, "../../etc/passwd", 1) }), reason.ArchiveMalformed},
		{"manifest-gone", func(f map[string][]byte) { delete(f, "manifest.json") }, reason.ArchiveMalformed},
		{"manifest-trailing", edit("manifest.json", func(s string) string { return s + "[]" }), reason.JSONTrailing},
		{"manifest-twice", edit("manifest.json", func(s string) string { return strings.Replace(s, `"Layers"`, `"Layers":[],"Layers"`, 1) }), reason.JSONDuplicateKey},
		{"empty", edit("manifest.json", func(string) string { return "[]" }), reason.ImageAbsent},
		{"two", edit("manifest.json", func(s string) string { return "[" + s[1:len(s)-1] + "," + s[1:len(s)-1] + "]" }), reason.ReferenceAmbiguous},
		{"more-layers", edit("manifest.json", func(s string) string { return strings.Replace(s, `"1/layer.tar",`, `"1/layer.tar","1/layer.tar",`, 1) }), reason.ConfigDiffIDs},
		{"fewer-layers", edit("manifest.json", func(s string) string { return strings.Replace(s, `"1/layer.tar",`, "", 1) }), reason.ConfigDiffIDs},
	} {
		files, _, _ := savedFiles(t, "coder:1.4")
		c.spoil(files)
		_, err := Resolve(t.Context(), parse(t, "docker-archive:"+writeTar(t, files)), options(t))
		if e, ok := reason.Of(err); !ok || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
}

// TestDockerArchiveLinks: older archives link equal layers to each other.
func TestDockerArchiveLinks(t *testing.T) {
	base := tarballOf("a", "base")
	config, _ := json.Marshal(ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(base), digest.FromBytes(base)}}})
	manifest, _ := json.Marshal([]savedImage{{Config: "config", Layers: []string{"1/layer.tar", "2/layer.tar"}}})
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, raw := range map[string][]byte{"manifest.json": manifest, "config": config, "1/layer.tar": base} {
		tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(raw))})
		tw.Write(raw)
	}
	tw.WriteHeader(&tar.Header{Name: "2/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../1/layer.tar"})
	tw.Close()
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := Resolve(t.Context(), parse(t, "docker-archive:"+path), options(t))
	if err != nil || len(res.Artifact.Layers()) != 2 {
		t.Errorf("%v, %v", res.Artifact.Layers(), err)
	}
}

// TestDaemon reads from a socket that answers as a docker daemon does.
func TestDaemon(t *testing.T) {
	files, _, _ := savedFiles(t, "registry.example/agents/coder:1.4")
	saved, err := os.ReadFile(writeTar(t, files))
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter) { w.Write(saved) }
	asked := ""
	daemon := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.Path
		answer(w)
	})}
	go daemon.Serve(l)
	t.Cleanup(func() { daemon.Close() })
	o := options(t)
	o.Socket = socket
	ref := parse(t, "docker-daemon:registry.example/agents/coder:1.4")
	res, err := Resolve(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	if asked != "GET /images/registry.example/agents/coder:1.4/get" || len(res.Artifact.Layers()) != 2 || res.Local {
		t.Errorf("asked %q, local %v", asked, res.Local)
	}
	fromFile, err := Resolve(t.Context(), parse(t, "docker-archive:"+writeTar(t, files)), o)
	if err != nil || fromFile.Artifact.Digest() != res.Artifact.Digest() {
		t.Errorf("the daemon's image and its archive differ: %v", err)
	}
	// Nothing can be attached to these: what is said of them lies in files beside.
	dir := t.TempDir()
	rewrite(t, dir, "bundle.json", "{}")
	beside := o
	beside.Evidence = []string{filepath.Join(dir, "bundle.json")}
	for _, image := range []string{"docker-daemon:registry.example/agents/coder:1.4", "docker-archive:" + writeTar(t, files)} {
		res, err := Resolve(t.Context(), parse(t, image), beside)
		if err != nil || len(res.Attachments) != 1 || res.Attachments[0].Where != File || len(res.Problems) != 0 {
			t.Errorf("%s with a file: %v, %v", image, res.Attachments, err)
		}
	}
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter)
		code   reason.Code
	}{
		{"absent", func(w http.ResponseWriter) { http.Error(w, "no such image", 404) }, reason.ImageAbsent},
		{"failing", func(w http.ResponseWriter) { w.WriteHeader(500) }, reason.DaemonFailing},
		{"cut", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100000")
			w.Write(saved[:1000])
		}, reason.DaemonFailing},
		{"not-tar", func(w http.ResponseWriter) { io.WriteString(w, strings.Repeat("no tar", 1000)) }, reason.ArchiveMalformed},
	} {
		answer = c.answer
		_, err := Resolve(t.Context(), ref, o)
		if e, ok := reason.Of(err); !ok || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
	never := o
	never.Pull = Never
	_, err = Resolve(t.Context(), ref, never)
	wantCode(t, err, reason.PullNever)
	o.Socket = filepath.Join(t.TempDir(), "none.sock")
	_, err = Resolve(t.Context(), ref, o)
	wantCode(t, err, reason.DaemonUnreachable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Resolve(ctx, ref, o)
	wantCode(t, err, reason.FetchInterrupted)
}

func TestSpool(t *testing.T) {
	o := options(t)
	f, err := spool(o.Store, "x", strings.NewReader("12345"), 5)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(f); err != nil || string(raw) != "12345" {
		t.Errorf("%q, %v", raw, err)
	}
	f.Close()
	_, err = spool(o.Store, "x", strings.NewReader("123456"), 5)
	wantCode(t, err, reason.ArchiveTooLarge)
	if left, _ := os.ReadDir(filepath.Join(o.Store.Dir(), "partial")); len(left) != 0 {
		t.Errorf("%v are left behind", left)
	}
}
