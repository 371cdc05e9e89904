//go:build linux

package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestN41KeysFromServer: a registry offers, beside an image that a stranger signed
// in our signer's name, all that would prove it: the stranger's trusted_root.json, key
// and chain as referrers, in annotations, and under every other path. Nothing of it is
// believed or so much as asked for.
func TestN41KeysFromServer(t *testing.T) {
	l := newLab(t)
	ours, theirs := verifytest.New(t), verifytest.New(t)
	who := l.keyless("agent", theirs)
	l.write("ours.json", string(ours.Root()))
	l.write("theirs.json", string(theirs.Root()))
	l.ok("key", "generate", "--output-key-prefix", "stranger")
	l.ok("sign", "--key", "stranger.key", "oci-layout:./agent")
	key, err := os.ReadFile(filepath.Join(l.dir, "stranger.pub"))
	if err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	var elsewhere []string
	inner := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", `</trusted_root.json>; rel="trusted-root", </cosign.pub>; rel="key"`)
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			inner.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		elsewhere = append(elsewhere, r.URL.Path)
		mu.Unlock()
		_, _ = w.Write(theirs.Root())
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	at := host + "/acme/agent:1"
	l.ok("copy", "oci-layout:./agent", at)
	for kind, raw := range map[string][]byte{
		"application/vnd.dev.sigstore.trustedroot+json;version=0.1": theirs.Root(), "application/vnd.dev.cosign.public.key": key,
		"application/x-pem-file": key, "application/vnd.dev.sigstore.root.pem": theirs.Root(),
	} {
		offer(t, at, kind, raw)
	}

	keyless := []string{"--certificate-identity", who.SAN, "--certificate-oidc-issuer", who.Issuer}
	refused := func(code reason.Code, args ...string) {
		t.Helper()
		if a := l.run(append(args, at)...); a.status != 1 || !strings.Contains(a.out+a.err, string(code)) {
			t.Errorf("%v: status %d, want 1 and %s: %s%s", args, a.status, code, a.out, a.err)
		}
	}
	refused(reason.LogUnknown, append([]string{"verify", "--json"}, keyless...)...)
	refused(reason.LogUnknown, append([]string{"verify", "--json", "--trusted-root", "ours.json"}, keyless...)...)
	refused(reason.SignatureUnknownKey, "verify", "--json", "--key", "release.pub")
	for _, args := range [][]string{{"policy", "init"}, {"policy", "init", "--trusted-root", "ours.json"}, {"policy", "init", "--key", "release.pub"}} {
		if a := l.run(append(args, at)...); a.status != 1 || strings.Contains(a.out, "identities") {
			t.Errorf("%v: status %d, %s", args, a.status, a.out)
		}
	}
	l.ok("trust", "add", "--replace", "ours.json")
	refused(reason.LogUnknown, append([]string{"verify", "--json"}, keyless...)...)
	// Only the operator's word brings the same bytes in.
	l.ok(append([]string{"verify", "--trusted-root", "theirs.json"}, append(keyless, at)...)...)
	l.ok("verify", "--key", "stranger.pub", at)
	mu.Lock()
	defer mu.Unlock()
	if len(elsewhere) > 0 {
		t.Errorf("asked the server for %v", elsewhere)
	}
}

// offer attaches a file to an image, in the registry's own way.
func offer(t *testing.T, image, kind string, raw []byte) {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(kind)),
		static.NewLayer(raw, types.MediaType(kind)))
	if err != nil {
		t.Fatal(err)
	}
	annotated, ok := mutate.Annotations(img, map[string]string{"dev.sigstore.cosign/chain": string(raw), "dev.cosignproject.cosign/key": string(raw)}).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	img, ok = mutate.Subject(annotated, *subject).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	sum, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref.Context().Digest(sum.String()), img); err != nil {
		t.Fatal(err)
	}
}
