//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	cosignbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci"
	cosignlayout "github.com/sigstore/cosign/v2/pkg/oci/layout"
	"github.com/sigstore/cosign/v2/pkg/oci/mutate"
	"github.com/sigstore/cosign/v2/pkg/oci/remote"
	"github.com/sigstore/cosign/v2/pkg/oci/static"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// stall is a desk with an image in a registry that can be told to misbehave, and
// with what cosign 2 writes about it.
type stall struct {
	desk
	over atomic.Pointer[http.HandlerFunc] // answers in the registry's place about referrers and their bundles
	ref  string                           // REGISTRY/agents/coder@DIGEST
	sum  digest.Digest
}

func newStall(t *testing.T) *stall {
	t.Helper()
	s := &stall{desk: newDesk(t)}
	store := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if over := s.over.Load(); over != nil && (strings.Contains(r.URL.Path, "/referrers/") || strings.HasSuffix(r.URL.Path, strings.Repeat("ab", 32))) {
			(*over)(w, r)
			return
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/agents/coder"
	s.layoutOf("plain")
	s.sum = digest.Digest(strings.TrimSpace(s.want(0, "copy", "oci-layout:"+s.at("plain"), repository+":1").out))
	s.ref = repository + "@" + string(s.sum)
	return s
}

// cosigned has cosign 2's own library write layers, as its command does.
func (s *stall) cosigned(layers ...evidence.Layer) oci.SignedEntity {
	s.t.Helper()
	ref, err := name.NewDigest(s.ref)
	if err != nil {
		s.t.Fatal(err)
	}
	entity, err := remote.SignedEntity(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range layers {
		var o []static.Option
		if cert := l.Annotations["dev.sigstore.cosign/certificate"]; cert != "" {
			o = append(o, static.WithCertChain([]byte(cert), []byte(l.Annotations["dev.sigstore.cosign/chain"])))
		}
		if set := l.Annotations["dev.sigstore.cosign/bundle"]; set != "" {
			var b cosignbundle.RekorBundle
			if err := json.Unmarshal([]byte(set), &b); err != nil {
				s.t.Fatal(err)
			}
			o = append(o, static.WithBundle(&b))
		}
		if l.MediaType == evidence.SimpleSigningType {
			sig, err := static.NewSignature(l.Payload, l.Annotations["dev.cosignproject.cosign/signature"], o...)
			if err == nil {
				entity, err = mutate.AttachSignatureToEntity(entity, sig)
			}
			if err != nil {
				s.t.Fatal(err)
			}
			continue
		}
		att, err := static.NewAttestation(l.Payload, append(o, static.WithLayerMediaType(types.MediaType(l.MediaType)), static.WithAnnotations(map[string]string{"predicateType": "said by nobody"}))...)
		if err == nil {
			entity, err = mutate.AttachAttestationToEntity(entity, att)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if err := remote.WriteSignatures(ref.Repository, entity); err != nil {
		s.t.Fatal(err)
	}
	if err := remote.WriteAttestations(ref.Repository, entity); err != nil {
		s.t.Fatal(err)
	}
	return entity
}

func (s *stall) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.at(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// TestCosignTwo goes from what cosign 2 wrote to a policy: it is shown, it does not
// count until a rule names its layout, and then it is proved like a bundle.
func TestCosignTwo(t *testing.T) {
	s := newStall(t)
	k, sigstore := verifytest.NewKey(t), verifytest.New(t)
	who := verifytest.GitHub("acme/agent", ".github/workflows/release.yml", "refs/tags/v1", "push")
	s.write("key.pub", string(k.Public(t)))
	s.write("root.json", string(sigstore.Root()))
	payload := verifytest.Simple(t, s.sum, nil)
	spdx := json.RawMessage(`{"spdxVersion":"SPDX-2.3"}`)
	entity := s.cosigned(k.Sign2(t, s.sum, payload), sigstore.Sign2(t, who, s.sum, payload, verifytest.Options{}),
		sigstore.Attest2(t, who, s.sum, verifytest.Statement(t, evidence.PredicateSPDX, spdx, s.sum.Encoded()), verifytest.Options{}))
	byKey := []string{"--key", s.at("key.pub")}
	keyless := []string{"--trusted-root", s.at("root.json"), "--certificate-identity", who.SAN, "--certificate-oidc-issuer", who.Issuer}
	for _, signer := range [][]string{byKey, keyless} {
		s.refused("one run's signer", s.call("zt", append(append([]string{"verify", "--json"}, signer...), s.ref)...), 1, string(reason.LayoutNotNamed))
	}
	a := s.call("tree", "tree", s.ref)
	for _, said := range []string{"legacy-tag", "sha256-" + s.sum.Encoded() + ".sig", "sha256-" + s.sum.Encoded() + ".att", who.SAN, "a key that it does not name", evidence.PredicateSPDX} {
		if a.status != 0 || !strings.Contains(a.out, said) {
			t.Errorf("tree: %d, no %q in\n%s", a.status, said, a.out)
		}
	}
	for name, signer := range map[string][]string{"key.yaml": byKey, "keyless.yaml": keyless[:2]} {
		a := s.call("zt", append(append([]string{"policy", "init"}, signer...), s.ref)...)
		if a.status != 0 || !strings.Contains(a.out, "layouts: [legacy-tags]") {
			t.Fatalf("%s: %d %s%s", name, a.status, a.out, a.err)
		}
		// What is held against the tree is another test's matter.
		s.write(name, strings.ReplaceAll(a.out, "      - {sbom:", "      # {sbom:"))
		policy := append([]string{"verify", "--json", "--policy", s.at(name)}, signer...)
		if name == "key.yaml" {
			policy = policy[:4]
		}
		if a := s.call("zt", append(policy, s.ref)...); a.status != 0 || !strings.Contains(a.out, "sha256-"+s.sum.Encoded()+".sig") {
			t.Errorf("%s: %d %s%s", name, a.status, a.out, a.err)
		}
	}
	// Saved as cosign saves, without a registry.
	image, ok := entity.(oci.SignedImage)
	if !ok {
		t.Fatalf("%T", entity)
	}
	if err := cosignlayout.WriteSignedImage(s.at("saved"), image); err != nil {
		t.Fatal(err)
	}
	saved := func(more ...string) answer {
		return s.call("saved-state", append(append([]string{"verify", "--json", "--as", strings.Split(s.ref, "@")[0]}, more...), "oci-layout:"+s.at("saved"))...)
	}
	if a := saved("--policy", s.at("key.yaml")); a.status != 0 {
		t.Errorf("saved: %d %s%s", a.status, a.out, a.err)
	}
	s.refused("saved, not named", saved(byKey...), 1, string(reason.LayoutNotNamed))
	// What was found is proved again from the store, with nobody to ask.
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	s.over.Store(&down)
	if a := s.call("zt", "verify", "--json", "--policy", s.at("key.yaml"), s.ref); a.status != 0 || !strings.Contains(a.out, `"local": true`) && !strings.Contains(a.out, `"local":true`) {
		t.Errorf("warm: %d %s%s", a.status, a.out, a.err)
	}
	s.over.Store(nil)
	// A bundle takes its place, and the rule need not name the layout any more.
	s.want(0, "sign", "--key", s.at("release.key"), s.ref)
	if a := s.call("zt", "verify", "--json", "--pull", "always", "--key", s.at("release.pub"), s.ref); a.status != 0 {
		t.Errorf("bundle beside: %d %s%s", a.status, a.out, a.err)
	}
}

// TestN38ReferrersFail: the referrers API fails in each way while a right
// signature of cosign 2 lies beside: nobody can tell, whether the rule names that
// layout or not. Where the API answers that there is nothing, the layout has to be
// named; and an image that nobody signed is never admitted.
func TestN38ReferrersFail(t *testing.T) {
	s := newStall(t)
	k := verifytest.NewKey(t)
	s.write("key.pub", string(k.Public(t)))
	policy := func(layouts string) string {
		return "identities: {release: {key: key.pub}}\nimages: [{match: \"**\", " + layouts + "require: [{signature: {by: [release]}}]}]\n"
	}
	s.write("named.yaml", policy("layouts: [legacy-tags], "))
	s.write("unnamed.yaml", policy(""))
	answerWith := func(status int, contentType, body string) *http.HandlerFunc {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
		return &h
	}
	const index = "application/vnd.oci.image.index.v1+json"
	n := 0
	for _, signed := range []bool{false, true} {
		if signed {
			s.cosigned(k.Sign2(t, s.sum, verifytest.Simple(t, s.sum, nil)))
		}
		for how, c := range map[string]struct {
			over           *http.HandlerFunc
			unnamed, named reason.Code // "" is admitted
		}{
			"429":       {answerWith(429, "text/plain", "slower"), reason.EvidenceUnreached, reason.EvidenceUnreached},
			"500":       {answerWith(500, "text/plain", ""), reason.EvidenceUnreached, reason.EvidenceUnreached},
			"403":       {answerWith(403, "text/plain", ""), reason.EvidenceUnreached, reason.EvidenceUnreached},
			"empty":     {answerWith(200, index, ""), reason.EvidenceUnreached, reason.EvidenceUnreached},
			"malformed": {answerWith(200, index, "<html>"), reason.EvidenceUnreached, reason.EvidenceUnreached},
			"404":       {answerWith(404, "text/plain", ""), reason.LayoutNotNamed, ""},
			"none":      {answerWith(200, index, `{"schemaVersion":2,"manifests":[]}`), reason.LayoutNotNamed, ""},
		} {
			s.over.Store(c.over)
			for name, code := range map[string]reason.Code{"unnamed.yaml": c.unnamed, "named.yaml": c.named} {
				n++
				a := s.call(fmt.Sprint("state", n), "verify", "--json", "--policy", s.at(name), s.ref)
				status := 1
				switch {
				case code == reason.EvidenceUnreached:
					status = 3
				case !signed:
					code = reason.SignatureAbsent
				}
				if code == "" {
					if a.status != 0 {
						t.Errorf("%s, %s: %d %s%s", how, name, a.status, a.out, a.err)
					}
					continue
				}
				s.refused(fmt.Sprintf("%s, %s, signed %v", how, name, signed), a, status, string(code))
			}
		}
	}
}

// TestN39NothingAttached: an image has no attestation where one is asked for: that
// nothing was found is no success, and no verb says so.
func TestN39NothingAttached(t *testing.T) {
	s := newStall(t)
	s.write("policy.yaml", "identities: {release: {key: release.pub}}\nimages: [{match: \"**\", require: [{attestation: {by: [release], type: \"https://slsa.dev/provenance/v1\"}}]}]\n")
	s.refused("nothing attached", s.call("zt", "verify", "--json", "--policy", s.at("policy.yaml"), s.ref), 1, string(reason.AttestationAbsent))
	s.refused("by one run's signer", s.call("zt", "verify", "--json", "--key", s.at("release.pub"), s.ref), 1, string(reason.SignatureAbsent))
	if a := s.call("zt", "policy", "init", "--key", s.at("release.pub"), s.ref); a.status != 1 || !strings.Contains(a.err, string(reason.InitUnproved)) {
		t.Errorf("policy init: %d %s", a.status, a.err)
	}
	s.want(0, "sign", "--key", s.at("release.key"), s.ref)
	s.refused("a signature attached", s.call("zt", "verify", "--json", "--pull", "always", "--policy", s.at("policy.yaml"), s.ref), 1, string(reason.AttestationAbsent))
}

// TestN52AnnotationsDecideNothing: bundles and layers of cosign 2 say in
// annotations, outside of what is signed, that they are what a rule asks for.
func TestN52AnnotationsDecideNothing(t *testing.T) {
	s := newStall(t)
	k := verifytest.NewKey(t)
	s.write("key.pub", string(k.Public(t)))
	s.write("predicate.json", "{}")
	const wanted = "https://example.com/wanted"
	s.write("policy.yaml", "identities: {release: {key: key.pub}}\nimages: [{match: \"**\", layouts: [legacy-tags], require: [{attestation: {by: [release], type: \""+wanted+"\"}}]}]\n")
	l := k.Attest2(t, s.sum, verifytest.Statement(t, "https://example.com/other", nil, s.sum.Encoded()))
	l.Annotations["predicateType"] = wanted
	simple := k.Sign2(t, s.sum, verifytest.Simple(t, s.sum, map[string]any{"predicateType": wanted}))
	simple.Annotations["predicateType"] = wanted
	s.cosigned(l, simple)
	s.refused("annotations", s.call("zt", "verify", "--json", "--policy", s.at("policy.yaml"), s.ref), 1, string(reason.AttestationAbsent))
	good := k.Attest2(t, s.sum, verifytest.Statement(t, wanted, nil, s.sum.Encoded()))
	s.cosigned(good)
	if a := s.call("zt", "verify", "--json", "--pull", "always", "--policy", s.at("policy.yaml"), s.ref); a.status != 0 {
		t.Errorf("signed: %d %s%s", a.status, a.out, a.err)
	}
}
