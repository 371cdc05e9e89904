package oci

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func spec() Spec {
	return Spec{
		Platform: v1.Platform{OS: "linux", Architecture: "amd64"},
		Config:   v1.Config{Entrypoint: []string{"/bin/a"}, Env: []string{"A=b"}, User: "1000"},
		Files: []File{
			{Path: "/bin/b", Hard: "/bin/a"},
			{Path: "/bin/a", Mode: 0o755, Body: []byte("a")},
			{Path: "/bin/c", Link: "a"},
			{Path: "/deep/er", Dir: true, UID: 7},
		},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestBuild(t *testing.T) {
	image, err := Build(spec())
	must(t, err)
	dir := filepath.Join(t.TempDir(), "layout")
	digest, err := Write(dir, image, "latest")
	must(t, err)
	again, err := Read(dir)
	must(t, err)
	must(t, validate.Image(again)) // every digest, size and diff ID
	if got, err := again.Digest(); err != nil || got != digest {
		t.Errorf("read back %v, %v; wrote %v", got, err, digest)
	}
	config, err := again.ConfigFile()
	must(t, err)
	if !slices.Equal(config.Config.Entrypoint, []string{"/bin/a"}) || config.Config.User != "1000" || config.Architecture != "amd64" {
		t.Errorf("config %+v", config)
	}

	layers, err := again.Layers()
	must(t, err)
	in, err := layers[0].Uncompressed()
	must(t, err)
	var got []string
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		got = append(got, h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname)
	}
	want := []string{
		"drwxr-xr-x bin/ ", "-rwxr-xr-x bin/a ", "Lrwxrwxrwx bin/c a", "drwxr-xr-x deep/ ", "drwxr-xr-x deep/er/ ", "-rw-r--r-- bin/b bin/a",
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestSame holds the digest against one written down: the same input gives the same
// image on another machine and another day.
func TestSame(t *testing.T) {
	image, err := Build(spec())
	must(t, err)
	digest, err := image.Digest()
	must(t, err)
	if want := "sha256:b47f157b441726b2d4a5acab8d91ecd2d3615668067c870ac957e00298748c92"; digest.String() != want {
		t.Errorf("digest %s, want %s", digest, want)
	}
}

func TestRefusesBadPaths(t *testing.T) {
	for _, p := range []string{"relative", "/", "/a/", "/a/../b", "/a//b", ""} {
		if _, err := Build(Spec{Files: []File{{Path: p}}}); err == nil {
			t.Errorf("path %q was taken", p)
		}
	}
	if _, err := Build(Spec{Files: []File{{Path: "/a"}, {Path: "/a"}}}); err == nil {
		t.Error("a path listed twice was taken")
	}
}

func TestBase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "base.tar")
	out, err := os.Create(file)
	must(t, err)
	w := tar.NewWriter(out)
	must(t, w.WriteHeader(&tar.Header{Name: "./etc/x", Mode: 0o644, Size: 1, Typeflag: tar.TypeReg}))
	_, err = w.Write([]byte("x"))
	must(t, errors.Join(err, w.Close(), out.Close()))
	s := spec()
	s.Base = file
	image, err := Build(s)
	must(t, err)
	dir := filepath.Join(t.TempDir(), "layout")
	_, err = Write(dir, image, "")
	must(t, err)
	image, err = Read(dir)
	must(t, err)
	layers, err := image.Layers()
	must(t, err)
	if len(layers) != 2 {
		t.Fatalf("%d layers", len(layers))
	}
	must(t, validate.Image(image))
}

func TestIndexAndBlobs(t *testing.T) {
	one, err := Build(spec())
	must(t, err)
	s := spec()
	s.Platform.Architecture = "arm64"
	two, err := Build(s)
	must(t, err)
	dir := filepath.Join(t.TempDir(), "layout")
	_, err = WriteIndex(dir, "latest", one, two)
	must(t, err)
	all, err := Blobs(dir)
	must(t, err)
	var roles []string
	for _, b := range all {
		roles = append(roles, b.Role)
	}
	// Both platforms share their layer: it is listed once.
	want := []string{"index", "linux-amd64/manifest", "linux-amd64/config", "linux-amd64/layer0", "linux-arm64/manifest", "linux-arm64/config"}
	if !slices.Equal(roles, want) {
		t.Errorf("blobs %v, want %v", roles, want)
	}
	if _, err := Read(dir); err == nil {
		t.Error("an index was read as an image")
	}
}

func TestArchives(t *testing.T) {
	image, err := Build(spec())
	must(t, err)
	temp := t.TempDir()
	dir := filepath.Join(temp, "layout")
	_, err = Write(dir, image, "latest")
	must(t, err)

	docker := filepath.Join(temp, "docker.tar")
	must(t, WriteDockerArchive(docker, dir, "agent:latest"))
	back, err := tarball.ImageFromPath(docker, nil)
	must(t, err)
	got, err := back.ConfigName()
	must(t, err)
	want, err := image.ConfigName()
	must(t, err)
	if got != want {
		t.Errorf("docker archive holds config %s, want %s", got, want)
	}

	oci := filepath.Join(temp, "oci.tar")
	must(t, WriteOCIArchive(oci, dir))
	in, err := os.Open(oci)
	must(t, err)
	defer in.Close()
	names := 0
	for r := tar.NewReader(in); ; names++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		packed, err := io.ReadAll(r)
		must(t, err)
		lies, err := os.ReadFile(filepath.Join(dir, h.Name))
		must(t, err)
		if string(packed) != string(lies) {
			t.Errorf("%s differs in the archive", h.Name)
		}
	}
	if names != 5 { // oci-layout, index.json, manifest, config, layer
		t.Errorf("%d files in the archive", names)
	}
}

func TestCorrupt(t *testing.T) {
	image, err := Build(spec())
	must(t, err)
	for how, grows := range map[How]int64{Flip: 0, Truncate: -1, Extend: 1, Remove: 0} {
		t.Run(string(how), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "layout")
			_, err := Write(dir, image, "latest")
			must(t, err)
			all, err := Blobs(dir)
			must(t, err)
			layer := all[len(all)-1]
			must(t, Corrupt(layer.Path, how))
			info, err := os.Stat(layer.Path)
			if how == Remove {
				if !errors.Is(err, os.ErrNotExist) {
					t.Errorf("still there: %v", err)
				}
				return
			}
			must(t, err)
			if info.Size() != layer.Size+grows {
				t.Errorf("size %d, was %d", info.Size(), layer.Size)
			}
			damaged, err := Read(dir)
			must(t, err)
			if validate.Image(damaged) == nil {
				t.Error("the damaged layout is valid")
			}
		})
	}
	if err := Corrupt(filepath.Join(t.TempDir(), "absent"), Flip); err == nil {
		t.Error("damaged a file that is not there")
	}
	if err := Corrupt(os.DevNull, How("burn")); err == nil {
		t.Error("unknown damage was done")
	}
}
