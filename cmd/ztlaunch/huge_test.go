//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const gigabyte = 1 << 30

// counter counts what a client takes.
type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// TestHugeManifest offers manifests of a gigabyte: they are refused by their
// size, and not read.
func TestHugeManifest(t *testing.T) {
	d := newDesk(t)
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return
		}
		rw.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		if strings.HasSuffix(r.URL.Path, "/told") {
			rw.Header().Set("Content-Length", fmt.Sprint(gigabyte))
		}
		if r.Method == http.MethodGet {
			_, _ = io.CopyN(counter{rw, &sent}, spaces{}, gigabyte) // the client hangs up
		}
	}))
	defer server.Close()
	for _, tag := range []string{"told", "streamed"} {
		a := d.call(tag, "verify", "--json", "--key", d.at("release.pub"), strings.TrimPrefix(server.URL, "http://")+"/agents/coder:"+tag)
		d.refused("a manifest from a registry, "+tag, a, 1, "manifest-too-large")
	}
	if sent.Load() > 64<<20 {
		t.Errorf("%d bytes were taken", sent.Load())
	}

	// A sparse file, in a layout: as its index, and as the manifest that an index names.
	hex := strings.Repeat("a", 64)
	for file, index := range map[string]string{"index.json": "", "blobs/sha256/" + hex: `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` +
		hex + `","size":1073741824}]}`} {
		dir := d.at(filepath.Base(file))
		for _, err := range []error{
			os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755),
			os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600),
			os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o600),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.OpenFile(filepath.Join(dir, file), os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			err = f.Truncate(gigabyte)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		a := d.call("zt", "verify", "--json", "--key", d.at("release.pub"), "oci-layout:"+dir)
		d.refused("a sparse "+filepath.Dir(file), a, 1, "manifest-too-large")
	}
}

// spaces are white space without end: JSON so far.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// TestCutArchive cuts archives off at many places: none is admitted, and none is
// taken for something that is not there.
func TestCutArchive(t *testing.T) {
	d := newDesk(t)
	img, err := smallImage("good", "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	whole := map[string][]byte{"docker-archive": docker(t, img), "oci-archive": archived(t, d.at("good"))}
	for scheme, raw := range whole {
		file := d.at(scheme + ".tar")
		verify := func(b []byte) (answer, string) {
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			a := d.call("zt", "verify", "--json", "--key", d.at("release.pub"), "--as", "localhost/good", scheme+":"+file)
			var v struct {
				Findings []struct{ Result, Code string }
			}
			if err := json.Unmarshal([]byte(a.out), &v); err != nil {
				t.Fatal(err)
			}
			for _, f := range v.Findings {
				if f.Result == "fail" {
					return a, f.Code
				}
			}
			return a, ""
		}
		if a, code := verify(raw); scheme == "oci-archive" && a.status != 0 || scheme == "docker-archive" && code != "signature-absent" {
			t.Fatalf("the whole %s: status %d, %s", scheme, a.status, a.out)
		}
		end := bytes.TrimRight(raw, "\x00")
		for n := 0; n < len(end); n += max(1, len(end)/40) {
			a, code := verify(raw[:n])
			switch {
			case a.status == 0 || a.status == 5 || code == "":
				t.Errorf("%s cut at %d of %d: status %d, %s", scheme, n, len(raw), a.status, a.out)
			case !strings.HasPrefix(code, "archive-") && !strings.HasPrefix(code, "layout-"):
				t.Errorf("%s cut at %d of %d: %s", scheme, n, len(raw), code)
			}
		}
	}
}

func docker(t *testing.T, img v1.Image) []byte {
	t.Helper()
	tag, err := name.NewTag("localhost/good:1")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, img, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// archived is a folder as a tar file.
func archived(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
