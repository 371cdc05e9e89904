package fetch

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const cosignSign = "https://sigstore.dev/cosign/sign/v1"

// aBundle is shaped like a bundle with a statement of a predicate type.
func aBundle(predicateType, text string) []byte {
	statement := fmt.Sprintf(`{"predicateType":%q,"text":%q}`, predicateType, text)
	return []byte(`{"mediaType":"` + bundleV03 + `","dsseEnvelope":{"payload":"` + base64.StdEncoding.EncodeToString([]byte(statement)) + `"}}`)
}

// TestAttachForm holds the manifest to the one that cosign 3.1.3 writes, byte
// for byte (pkg/oci/remote/write.go, WriteAttestationNewBundleFormat).
func TestAttachForm(t *testing.T) {
	w := newWorld()
	dir := w.layout(t, false)
	o := Options{Now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.FixedZone("", 7200))}
	bundle := aBundle(cosignSign, "x")
	d, err := Attach(t.Context(), parse(t, "oci-layout:"+dir), ocispec.Descriptor{Digest: w.image}, bundle, "", o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", d.Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"},`+
		`"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","size":%d,"digest":"%s"}],`+
		`"annotations":{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1","org.opencontainers.image.created":"2026-09-01T10:00:00Z"},`+
		`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":%d,"digest":"%s"},`+
		`"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`,
		len(bundle), digest.FromBytes(bundle), len(w.blobs[w.image]), w.image)
	if string(got) != want {
		t.Errorf("writes\n%s\nwant\n%s", got, want)
	}
	if d.Size != int64(len(got)) || d.Digest != digest.FromBytes(got) || d.ArtifactType != bundleV03 {
		t.Errorf("descriptor %+v", d)
	}
}

// TestAttach attaches to the image and the index, everywhere, and finds it.
func TestAttach(t *testing.T) {
	w := newWorld()
	bare := w.clone()
	for _, d := range []digest.Digest{w.imageReferrer, w.indexReferrer, w.imageBundle, w.indexBundle} {
		delete(bare.blobs, d)
	}
	dir := bare.layout(t, false)
	api, tag := realRegistry(t, true)+"/a:1.4", realRegistry(t, false)+"/a:1.4"
	for _, where := range []string{"oci-layout:" + dir, api, tag} {
		ref := parse(t, where)
		if ref.Scheme() == artifact.Registry {
			if _, err := Copy(t.Context(), parse(t, "oci-layout:"+dir+":1.4"), ref, options(t)); err != nil {
				t.Fatal(err)
			}
		}
		o := options(t)
		found, err := Discover(t.Context(), ref, o)
		if err != nil || found.Root.Digest != w.index || found.Manifest.Digest != w.image || !found.Artifact.Zero() {
			t.Fatalf("%s: %+v, %v", where, found, err)
		}
		subjects := []ocispec.Descriptor{found.Manifest, found.Root, {Digest: w.other}}
		for range 2 { // attaching twice is attaching once
			for i, subject := range subjects {
				if _, err := Attach(t.Context(), ref, subject, aBundle(cosignSign, fmt.Sprint(i)), "", o); err != nil {
					t.Fatal(err)
				}
			}
		}
		res, err := Resolve(t.Context(), ref, options(t))
		if err != nil || len(res.Problems) != 0 || len(res.Attachments) != 2 {
			t.Fatalf("%s: %v, %v, %v", where, res.Attachments, problemCodes(res.Problems), err)
		}
		for i, a := range res.Attachments {
			if string(a.Raw) != string(aBundle(cosignSign, fmt.Sprint(i))) || a.Subject != subjects[i].Digest || a.ArtifactType != bundleV03 {
				t.Errorf("%s: %+v", where, a)
			}
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	w := newWorld()
	dir := w.layout(t, false)
	o := options(t)
	b := aBundle(cosignSign, "x")
	_, err := Attach(t.Context(), parse(t, "oci-layout:"+dir), ocispec.Descriptor{Digest: "sha256:../x"}, b, "", o)
	wantCode(t, err, reason.DigestUnsupported)
	_, err = Attach(t.Context(), parse(t, "oci-layout:"+dir), ocispec.Descriptor{Digest: digest.Digest(aDigest)}, b, "", o)
	wantCode(t, err, reason.ContentAbsent)
	_, err = Attach(t.Context(), parse(t, "oci-layout:"+dir), ocispec.Descriptor{Digest: w.image}, make([]byte, MaxEvidence+1), "", o)
	wantCode(t, err, reason.EvidenceTooLarge)
	_, err = Attach(t.Context(), parse(t, "docker-archive:/x"), ocispec.Descriptor{Digest: w.image}, b, "", o)
	wantCode(t, err, reason.ReferenceNotImage)
	rewrite(t, dir, "blobs/sha256/"+w.image.Encoded(), "{}")
	_, err = Attach(t.Context(), parse(t, "oci-layout:"+dir), ocispec.Descriptor{Digest: w.image}, b, "", o)
	wantCode(t, err, reason.MismatchManifest)
	rewrite(t, t.TempDir(), "file", "")
	_, err = Attach(t.Context(), parse(t, "oci-layout:/dev/null/x"), ocispec.Descriptor{Digest: w.image}, b, "", o)
	wantCode(t, err, reason.LayoutUnwritable)
}

// TestAttachLayout: many writers at once lose nothing.
func TestAttachLayout(t *testing.T) {
	w := newWorld()
	dir := w.layout(t, true)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := Attach(t.Context(), parse(t, "oci-layout:"+dir), ocispec.Descriptor{Digest: w.image}, aBundle(cosignSign, fmt.Sprint(i)), "", Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	res, err := Resolve(t.Context(), parse(t, "oci-layout:"+dir+":1.4"), options(t))
	if err != nil || len(res.Attachments) != 10 || len(res.Problems) != 0 {
		t.Errorf("%d attachments, %v, %v", len(res.Attachments), problemCodes(res.Problems), err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "index.json")) // blobs that it does not list are found too
	if n := strings.Count(string(raw), `"digest"`); err != nil || n != 11 {
		t.Errorf("index.json lists %d, want the index, two referrers and eight new ones; %v", n, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("%v are left behind", left)
	}
	_, err = Attach(t.Context(), parse(t, "oci-layout:/dev/null/x"), ocispec.Descriptor{Digest: w.image}, nil, "", Options{})
	wantCode(t, err, reason.LayoutUnwritable)
}

func TestPushRefused(t *testing.T) {
	w := newWorld()
	from := parse(t, "oci-layout:"+w.layout(t, true)+":1.4")
	for _, c := range []struct {
		method, path string
		status       int
		code         reason.Code
	}{
		{"POST", "blobs/uploads/", 405, reason.PushRefused},
		{"POST", "blobs/uploads/", 202, reason.PushRefused}, // and no place to upload to
		{"POST", "blobs/uploads/", 403, reason.RegistryForbidden},
		{"HEAD", "blobs/", 401, reason.RegistryUnauthorized},
		{"PUT", "manifests/", 400, reason.PushRefused},
		{"PUT", "manifests/", 404, reason.PushRefused},
	} {
		s := serve(t, &world{blobs: map[digest.Digest][]byte{}})
		s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
			if r.Method == c.method && strings.HasPrefix(path, c.path) {
				rw.WriteHeader(c.status)
				return true
			}
			if r.Method == "POST" {
				rw.Header().Set("Location", "/v2/r/blobs/uploads/1")
				rw.WriteHeader(202)
				return true
			}
			if r.Method == "PUT" {
				rw.WriteHeader(201)
				return true
			}
			return false
		}
		_, err := Copy(t.Context(), from, s.ref(t), options(t))
		if e, ok := reason.Of(err); !ok || e.Code != c.code {
			t.Errorf("%s %s %d: %v, want %s", c.method, c.path, c.status, err, c.code)
		}
	}
	// The tag is written again and again, and never has the new referrer.
	s := serve(t, w)
	s.referrers = false
	s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == "PUT" || r.Method == "POST" {
			rw.Header().Set("Location", "/v2/r/blobs/uploads/1")
			rw.WriteHeader(map[string]int{"PUT": 201, "POST": 202}[r.Method])
			return true
		}
		return false
	}
	_, err := Attach(t.Context(), s.ref(t), ocispec.Descriptor{Digest: w.image}, aBundle(cosignSign, "x"), "", options(t))
	wantCode(t, err, reason.PushRefused)
}
