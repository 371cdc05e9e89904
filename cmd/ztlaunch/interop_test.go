//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// bench is a desk with the real cosign, an image in a registry, and a Sigstore
// in memory.
type bench struct {
	desk
	cosign   string
	sigstore *verifytest.Sigstore
	ref      string // REGISTRY/agents/coder@DIGEST, unsigned
}

// newBench needs ZTLAUNCH_COSIGN, which only make interop sets.
func newBench(t *testing.T) bench {
	t.Helper()
	cosign := os.Getenv("ZTLAUNCH_COSIGN")
	if cosign == "" {
		t.Skip("ZTLAUNCH_COSIGN: make interop builds cosign and sets it")
	}
	b := bench{desk: newDesk(t), cosign: cosign, sigstore: verifytest.New(t)}
	b.write("root.json", string(b.sigstore.Root()))
	b.write("predicate.json", `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"a","dataLicense":"CC0-1.0",`+
		`"documentNamespace":"https://registry.example/a","creationInfo":{"created":"2026-01-01T00:00:00Z","creators":["Tool: test"]},"packages":[],"files":[]}`)
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	b.ref = b.push(strings.TrimPrefix(server.URL, "http://")+"/agents/coder", "plain")
	b.ok("signing-config", "create", "--out", "sc.json")
	b.ok("generate-key-pair", "--output-key-prefix", "cos")
	b.ok("generate-key-pair", "--output-key-prefix", "other")
	return b
}

func (b bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.at(name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// push puts an image of its own into the registry, and names it by digest.
func (b bench) push(repository, text string) string {
	b.t.Helper()
	b.layoutOf(text)
	out := b.want(0, "copy", "oci-layout:"+b.at(text), repository+":"+text).out
	return repository + "@" + strings.TrimSpace(out)
}

// run is cosign with no way out but loopback.
func (b bench) run(args ...string) answer {
	b.t.Helper()
	c := exec.Command(b.cosign, args...)
	c.Dir = b.dir
	nowhere := "http://127.0.0.1:1"
	c.Env = []string{"HOME=" + b.dir, "COSIGN_PASSWORD=", "HTTP_PROXY=" + nowhere, "HTTPS_PROXY=" + nowhere, "ALL_PROXY=" + nowhere,
		"NO_PROXY=127.0.0.1,localhost", "TUF_ROOT=" + b.at("tuf")}
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return answer{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (b bench) ok(args ...string) answer {
	b.t.Helper()
	a := b.run(args...)
	if a.status != 0 {
		b.t.Fatalf("cosign %s: status %d\n%s%s", strings.Join(args, " "), a.status, a.out, a.err)
	}
	return a
}

var (
	makes  = []string{"--signing-config", "sc.json", "--trusted-root", "root.json", "--allow-http-registry", "-y"}
	checks = []string{"--trusted-root", "root.json", "--allow-http-registry"}
)

// TestInteropCosignSigns has what cosign signs and attests judged by ztlaunch.
func TestInteropCosignSigns(t *testing.T) {
	b := newBench(t)
	verdict := func(policy, ref string) answer {
		return b.call("zt", "verify", "--json", "--policy", b.at(policy), "--pull", "always", ref)
	}
	b.write("policy.yaml", "identities: {release: {key: cos.pub}}\nimages: [{match: \"**\", require: [{signature: {by: [release]}}]}]\n")
	b.write("other.yaml", "identities: {release: {key: other.pub}}\nimages: [{match: \"**\", require: [{signature: {by: [release]}}]}]\n")
	b.write("sbom.yaml", "identities: {release: {key: cos.pub}}\nimages: [{match: \"**\", require: [{attestation: {by: [release], type: \"https://spdx.dev/Document\"}}]}]\n")
	b.refused("not yet signed", verdict("policy.yaml", b.ref), 1, "signature-absent")
	b.ok(append(append([]string{"sign", "--key", "cos.key"}, makes...), b.ref)...)
	if a := verdict("policy.yaml", b.ref); a.status != 0 {
		t.Errorf("cosign's signature: %d %s", a.status, a.out)
	}
	b.refused("cosign's signature, another key", verdict("other.yaml", b.ref), 1, "signature-unproved")
	b.refused("a signature is no attestation", verdict("sbom.yaml", b.ref), 1, "attestation-absent")
	b.ok(append(append([]string{"attest", "--key", "cos.key", "--type", "spdxjson", "--predicate", "predicate.json"}, makes...), b.ref)...)
	if a := verdict("sbom.yaml", b.ref); a.status != 0 {
		t.Errorf("cosign's attestation: %d %s", a.status, a.out)
	}
	// A signature of another image, moved here.
	other := b.push(strings.Split(b.ref, "@")[0], "elsewhere")
	b.refused("another image", verdict("policy.yaml", other), 1, "signature-absent")
	if a := b.call("zt", "tree", "--json", b.ref); a.status != 0 || strings.Count(a.out, `"predicate"`) != 2 {
		t.Errorf("tree: %d %s", a.status, a.out)
	}
}

// TestInteropCosignVerifies has what ztlaunch signs and attests judged by cosign.
func TestInteropCosignVerifies(t *testing.T) {
	b := newBench(t)
	verify := func(key string) answer {
		return b.run(append(append([]string{"verify", "--key", key, "--insecure-ignore-tlog=true"}, checks...), b.ref)...)
	}
	attested := func(kind string) answer {
		return b.run(append(append([]string{"verify-attestation", "--type", kind, "--key", "release.pub", "--insecure-ignore-tlog=true"}, checks...), b.ref)...)
	}
	if a := verify("release.pub"); a.status == 0 {
		t.Errorf("cosign accepts an unsigned image: %s", a.out)
	}
	b.want(0, "sign", "--key", b.at("release.key"), b.ref)
	if a := verify("release.pub"); a.status != 0 || !strings.Contains(a.out, strings.Split(b.ref, "@")[1]) {
		t.Errorf("our signature: %d %s%s", a.status, a.out, a.err)
	}
	if a := verify("other.pub"); a.status == 0 {
		t.Errorf("cosign accepts our signature by another key: %s", a.out)
	}
	if a := attested("spdxjson"); a.status == 0 {
		t.Errorf("a signature is an attestation: %s", a.out)
	}
	b.want(0, "attest", "--key", b.at("release.key"), "--type", "spdxjson", "--predicate", b.at("predicate.json"), b.ref)
	if a := attested("spdxjson"); a.status != 0 {
		t.Errorf("our attestation: %d %s%s", a.status, a.out, a.err)
	}
	if a := attested("cyclonedx"); a.status == 0 {
		t.Errorf("of another type: %s", a.out)
	}
}

// TestInteropDenyFeed has a deny feed signed by cosign believed by ztlaunch, and one
// signed by ztlaunch verified by cosign.
func TestInteropDenyFeed(t *testing.T) {
	b := newBench(t)
	feed := func(serial int, digests string) {
		b.write("deny.json", fmt.Sprintf(`{"schema": "ztlaunch.deny/v1", "serial": %d, "issued": "2026-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z", "digests": [%s]}`, serial, digests))
	}
	sign := func() {
		b.ok("sign-blob", "--key", "cos.key", "--signing-config", "sc.json", "--trusted-root", "root.json", "-y", "--bundle", "deny.json.sigstore.json", "deny.json")
	}
	verdict := func() answer {
		return b.call("zt", "verify", "--json", "--policy", b.at("policy.yaml"), "oci-layout:"+b.at("good"))
	}
	b.write("policy.yaml", "identities: {release: {key: release.pub}, warden: {key: cos.pub}}\ndenyFeed: {file: deny.json, by: [warden]}\n"+
		"images: [{match: \"**\", require: [{signature: {by: [release]}}]}]\n")
	feed(1, "")
	sign()
	a := verdict()
	if a.status != 0 {
		t.Fatalf("cosign's signature: %d %s", a.status, a.out)
	}
	sum := regexp.MustCompile(`"digest": "(sha256:[0-9a-f]+)"`).FindStringSubmatch(a.out)[1]
	feed(2, `{"digest": "`+sum+`", "reason": "a backdoor"}`)
	b.refused("cosign's older signature", verdict(), 1, "deny-feed-tampered")
	sign()
	b.refused("a digest", verdict(), 1, "digest-denied")

	b.want(0, "sign", "--key", b.at("release.key"), "deny:"+b.at("deny.json"))
	verify := func(key string) answer {
		return b.run("verify-blob", "--key", key, "--insecure-ignore-tlog=true", "--trusted-root", "root.json", "--bundle", "deny.json.sigstore.json", "deny.json")
	}
	if a := verify("release.pub"); a.status != 0 {
		t.Errorf("our signature: %d %s%s", a.status, a.out, a.err)
	}
	if a := verify("cos.pub"); a.status == 0 {
		t.Errorf("cosign accepts our signature by another key: %s", a.out)
	}
	feed(2, "")
	if a := verify("release.pub"); a.status == 0 {
		t.Errorf("cosign accepts our signature over other bytes: %s", a.out)
	}
}

// TestInteropKeys signs with each tool and the other's key file.
func TestInteropKeys(t *testing.T) {
	b := newBench(t)
	b.want(0, "sign", "--key", b.at("cos.key"), b.ref)
	if a := b.call("zt", "verify", "--json", "--key", b.at("cos.pub"), b.ref); a.status != 0 {
		t.Errorf("ztlaunch with cosign's keys: %d %s", a.status, a.out)
	}
	b.ok(append(append([]string{"verify", "--key", "cos.pub", "--insecure-ignore-tlog=true"}, checks...), b.ref)...)
	ours := b.push(strings.Split(b.ref, "@")[0], "ours")
	b.ok(append(append([]string{"sign", "--key", "release.key"}, makes...), ours)...)
	if a := b.call("zt", "verify", "--json", "--key", b.at("release.pub"), ours); a.status != 0 {
		t.Errorf("cosign with our keys: %d %s", a.status, a.out)
	}
}

// TestInteropKeyless has a keyless signature, by certificate and log, judged by
// both.
func TestInteropKeyless(t *testing.T) {
	b := newBench(t)
	ref, err := artifact.Parse(b.ref)
	if err != nil {
		t.Fatal(err)
	}
	store, err := content.Open(b.at("test-store"))
	if err != nil {
		t.Fatal(err)
	}
	o := fetch.Options{Store: store, Now: time.Now()}
	found, err := fetch.Discover(context.Background(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	who := verifytest.GitHub("acme/agent", ".github/workflows/release.yml", "refs/tags/v1", "push")
	statement := verifytest.Statement(t, evidence.PredicateCosignSign, struct{}{}, found.Root.Digest.Encoded())
	bundle := b.sigstore.Attest(t, who, statement, verifytest.Options{})
	if _, err := fetch.Attach(context.Background(), ref, found.Root, bundle, evidence.PredicateCosignSign, o); err != nil {
		t.Fatal(err)
	}
	for identity, good := range map[string]bool{who.SAN: true, who.SAN + "x": false} {
		a := b.run(append(append([]string{"verify", "--certificate-identity", identity, "--certificate-oidc-issuer", who.Issuer}, checks...), b.ref)...)
		if (a.status == 0) != good {
			t.Errorf("cosign, %s: %d %s%s", identity, a.status, a.out, a.err)
		}
		a = b.call("zt", "verify", "--json", "--trusted-root", b.at("root.json"), "--certificate-identity", identity, "--certificate-oidc-issuer", who.Issuer, b.ref)
		if (a.status == 0) != good {
			t.Errorf("ztlaunch, %s: %d %s", identity, a.status, a.out)
		}
	}
}

// TestInteropRun runs what cosign signed, in a real box, and nothing else.
func TestInteropRun(t *testing.T) {
	b := newBench(t)
	l := newLab(t)
	repository := strings.Split(b.ref, "@")[0]
	ref := repository + "@" + strings.TrimSpace(b.want(0, "copy", "oci-layout:"+filepath.Join(l.images, "tools"), repository+":tools").out)
	run := func(key string) answer {
		return l.run("run", "--pull", "always", "--key", b.at(key), ref, "echo", "signed by cosign")
	}
	if a := run("cos.pub"); a.status != 125 || !strings.Contains(a.err, "signature-absent") {
		t.Errorf("unsigned: %d %s", a.status, a.err)
	}
	b.ok(append(append([]string{"sign", "--key", "cos.key"}, makes...), ref)...)
	if a := run("cos.pub"); a.status != 0 || a.out != "signed by cosign\n" {
		t.Errorf("signed: %d %q %s", a.status, a.out, a.err)
	}
	if a := run("other.pub"); a.status != 125 || !strings.Contains(a.err, "signature-unproved") {
		t.Errorf("another key: %d %s", a.status, a.err)
	}
}
