//go:build linux

package main

import (
	"bytes"
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

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/opencontainers/go-digest"
)

// desk is a place to call ztlaunch from, in this process: no root, no runtime.
type desk struct {
	t   *testing.T
	dir string
}

// newDesk has a key pair and one signed image, as the layout good.
func newDesk(t *testing.T) desk {
	t.Helper()
	d := desk{t, t.TempDir()}
	d.want(0, "key", "generate", "--output-key-prefix", d.at("release"))
	d.layoutOf("good")
	d.want(0, "sign", "--key", d.at("release.key"), "oci-layout:"+d.at("good"))
	return d
}

func (d desk) at(name string) string { return filepath.Join(d.dir, name) }

// layoutOf makes an image whose one file says text, as the layout of that name.
func (d desk) layoutOf(text string) {
	d.t.Helper()
	img, err := smallImage(text, "linux/amd64")
	if err != nil {
		d.t.Fatal(err)
	}
	p, err := layout.Write(d.at(text), empty.Index)
	if err == nil {
		err = p.AppendImage(img)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// call runs ztlaunch with a state folder of that name.
func (d desk) call(state string, args ...string) answer {
	d.t.Helper()
	var out, errs bytes.Buffer
	w := world{out: &out, err: &errs, now: time.Now, root: d.at(state), env: func(name string) (string, bool) { return "", name == "COSIGN_PASSWORD" }}
	return answer{dispatch(w, args), out.String(), errs.String()}
}

func (d desk) want(status int, args ...string) answer {
	d.t.Helper()
	a := d.call("zt", args...)
	if a.status != status {
		d.t.Fatalf("ztlaunch %s: status %d, want %d\n%s%s", strings.Join(args, " "), a.status, status, a.out, a.err)
	}
	return a
}

// refused wants a verification to fail with exactly that code.
func (d desk) refused(what string, a answer, status int, code string) {
	d.t.Helper()
	var v struct {
		Exit     int
		Result   string
		Findings []struct{ Result, Code, Expected, Found, Next string }
	}
	if err := json.Unmarshal([]byte(a.out), &v); err != nil {
		d.t.Errorf("%s: %v: %s%s", what, err, a.out, a.err)
		return
	}
	for _, f := range v.Findings {
		if f.Result == "fail" {
			if a.status != status || v.Exit != status || f.Code != code || f.Expected == "" && f.Found == "" || f.Next == "" {
				d.t.Errorf("%s: status %d, %+v; want %d %s", what, a.status, f, status, code)
			}
			return
		}
	}
	d.t.Errorf("%s: status %d, %s: want %d %s", what, a.status, v.Result, status, code)
}

// damages are what happens to bytes that nobody re-hashes.
var damages = map[string]func([]byte) []byte{
	"flip":     func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b },
	"truncate": func(b []byte) []byte { return b[:len(b)-1] },
	"extend":   func(b []byte) []byte { return append(bytes.Clone(b), '\n') },
	"empty":    func([]byte) []byte { return nil },
}

// The parts of a signed image.
const (
	manifest = "digest-mismatch-manifest"
	config   = "digest-mismatch-config"
	layer    = "digest-mismatch-layer"
	referrer = "digest-mismatch-evidence in its carrier"
	bundle   = "digest-mismatch-evidence in the bundle"
)

// blobs are the parts of the image good, by digest.
func (d desk) blobs() map[string]string {
	d.t.Helper()
	p, err := layout.FromPath(d.at("good"))
	if err != nil {
		d.t.Fatal(err)
	}
	x, err := p.ImageIndex()
	if err != nil {
		d.t.Fatal(err)
	}
	m, err := x.IndexManifest()
	if err != nil {
		d.t.Fatal(err)
	}
	all := map[string]string{}
	for _, desc := range m.Manifests {
		img, err := x.Image(desc.Digest)
		if err != nil {
			d.t.Fatal(err)
		}
		inner, err := img.Manifest()
		if err != nil {
			d.t.Fatal(err)
		}
		if inner.Subject != nil {
			all[desc.Digest.Hex], all[inner.Layers[0].Digest.Hex] = referrer, bundle
			continue
		}
		all[desc.Digest.Hex], all[inner.Config.Digest.Hex], all[inner.Layers[0].Digest.Hex] = manifest, config, layer
	}
	if len(all) != 5 {
		d.t.Fatalf("%d blobs: %v", len(all), all)
	}
	return all
}

// TestDamaged damages each blob of an image in a layout, in a registry and in
// the store: the command line refuses with the blob's own code.
func TestDamaged(t *testing.T) {
	d := newDesk(t)
	verify := func(state, ref string, more ...string) answer {
		return d.call(state, append([]string{"verify", "--json", "--key", d.at("release.pub"), "--as", "localhost/good"}, append(more, ref)...)...)
	}
	type lie struct{ hex, how string }
	var told atomic.Pointer[lie]
	store := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		l := told.Load()
		if l == nil || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, l.hex) || strings.Contains(r.URL.Path, "/referrers/") {
			store.ServeHTTP(rw, r)
			return
		}
		rec := httptest.NewRecorder()
		store.ServeHTTP(rec, r)
		rw.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		_, _ = rw.Write(damages[l.how](rec.Body.Bytes())) // the client hangs up when it has seen enough
	}))
	defer server.Close()
	remote := strings.TrimPrefix(server.URL, "http://") + "/localhost/good"
	remote += "@" + strings.TrimSpace(d.want(0, "copy", "oci-layout:"+d.at("good"), remote+":1").out)
	if a := verify("seen", "oci-layout:"+d.at("good")); a.status != 0 {
		t.Fatal(a.out)
	}
	n := 0
	for hex, part := range d.blobs() {
		for _, how := range slices.Sorted(maps.Keys(damages)) {
			n++
			status, want := 1, part
			if part == referrer || part == bundle {
				want = "digest-mismatch-evidence"
			}
			name := how + " " + part
			good, err := os.ReadFile(filepath.Join(d.at("good"), "blobs", "sha256", hex))
			if err != nil {
				t.Fatal(err)
			}
			bad := fmt.Sprintf("bad%d", n)
			if err := os.CopyFS(d.at(bad), os.DirFS(d.at("good"))); err != nil {
				t.Fatal(err)
			}
			overwrite(t, filepath.Join(d.at(bad), "blobs", "sha256", hex), damages[how](good))
			d.refused(name+" in a layout", verify(bad+"-state", "oci-layout:"+d.at(bad)), status, want)
			for _, pull := range []string{"missing", "never", "always"} {
				d.refused(name+" in a layout whose good copy was seen, --pull "+pull, verify("seen", "oci-layout:"+d.at(bad), "--pull", pull), status, want)
			}

			told.Store(&lie{hex, how})
			a := d.call(bad+"-remote", "verify", "--json", "--key", d.at("release.pub"), remote)
			told.Store(nil)
			d.refused(name+" in a registry", a, status, want)

			state := bad + "-store"
			if a := d.call(state, "verify", "--json", "--key", d.at("release.pub"), remote); a.status != 0 {
				t.Fatalf("%s: %s", name, a.out)
			}
			file := filepath.Join(d.at(state), "state", "store", "blobs", "sha256", hex)
			if _, err := os.Stat(file); err != nil {
				t.Fatal(err)
			}
			if part == referrer {
				continue // not read again: the bundle is recorded by its own digest
			}
			if err := os.RemoveAll(d.at(state + "/state/store/kept")); err != nil { // trees: a tree that is known is not read again
				t.Fatal(err)
			}
			overwrite(t, file, damages[how](good))
			d.refused(name+" in the store", d.call(state, "verify", "--json", "--key", d.at("release.pub"), "--pull", "never", remote), status, want)
			if digest.FromBytes(good).Encoded() != hex {
				t.Fatal("the good blob is not good")
			}
		}
	}
}

func overwrite(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
