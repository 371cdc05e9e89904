//go:build linux

package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// with is the bench with another program of other people's in cosign's place.
func (b bench) with(variable string) bench {
	b.t.Helper()
	b.cosign = os.Getenv(variable)
	if b.cosign == "" {
		b.t.Fatalf("%s: make interop builds it and sets it with ZTLAUNCH_COSIGN", variable)
	}
	return b
}

// policies are by the key in cos.pub: a signature and an attestation, with the
// layout of older tags named and not.
func (b bench) policies() {
	b.t.Helper()
	for file, layouts := range map[string]string{"": "", "-tags": "layouts: [legacy-tags], "} {
		for name, demand := range map[string]string{"signed": "signature: {by: [release]}", "sbom": `attestation: {by: [release], type: "https://spdx.dev/Document"}`} {
			b.write(name+file+".yaml", "identities: {release: {key: cos.pub}}\nimages: [{match: \"**\", "+layouts+"require: [{"+demand+"}]}]\n")
		}
	}
}

// TestInteropCosignTwo has what the real cosign 2 signs, attests and saves judged by
// ztlaunch: it counts where a rule names its layout, and nowhere else.
func TestInteropCosignTwo(t *testing.T) {
	b := newBench(t)
	two := b.with("ZTLAUNCH_COSIGN2")
	b.policies()
	verdict := func(policy string, ref ...string) answer {
		return b.call("zt", append([]string{"verify", "--json", "--policy", b.at(policy), "--pull", "always"}, ref...)...)
	}
	b.refused("nothing there", verdict("signed-tags.yaml", b.ref), 1, string(reason.SignatureAbsent))
	two.ok("sign", "--key", "cos.key", "--tlog-upload=false", "--allow-http-registry", "-y", b.ref)
	if a := verdict("signed-tags.yaml", b.ref); a.status != 0 {
		t.Errorf("its signature: %d %s", a.status, a.out)
	}
	b.refused("its signature, layout not named", verdict("signed.yaml", b.ref), 1, string(reason.LayoutNotNamed))
	b.refused("a signature is no attestation", verdict("sbom-tags.yaml", b.ref), 1, string(reason.AttestationAbsent))
	two.ok("attest", "--key", "cos.key", "--type", "spdxjson", "--predicate", "predicate.json", "--tlog-upload=false", "--allow-http-registry", "-y", b.ref)
	if a := verdict("sbom-tags.yaml", b.ref); a.status != 0 {
		t.Errorf("its attestation: %d %s", a.status, a.out)
	}
	b.refused("its attestation, layout not named", verdict("sbom.yaml", b.ref), 1, string(reason.LayoutNotNamed))
	if a := b.call("zt", "verify", "--json", "--key", b.at("other.pub"), "--pull", "always", b.ref); a.status != 1 {
		t.Errorf("another key: %d %s", a.status, a.out)
	}
	two.ok("save", "--allow-http-registry", "--dir", b.at("saved"), b.ref)
	saved := []string{"--as", strings.Split(b.ref, "@")[0], "oci-layout:" + b.at("saved")}
	for _, policy := range []string{"signed", "sbom"} {
		if a := verdict(policy+"-tags.yaml", saved...); a.status != 0 {
			t.Errorf("saved, %s: %d %s", policy, a.status, a.out)
		}
		b.refused("saved, layout not named", verdict(policy+".yaml", saved...), 1, string(reason.LayoutNotNamed))
	}
}

// TestInteropCosignTwoVerifies has what ztlaunch signs and attests, which is in
// bundles, judged by cosign 2 where it is told to read them.
func TestInteropCosignTwoVerifies(t *testing.T) {
	b := newBench(t)
	two := b.with("ZTLAUNCH_COSIGN2")
	attested := func(key string) answer {
		return two.run("verify-attestation", "--new-bundle-format", "--type", "spdxjson", "--key", key, "--trusted-root", "root.json", "--insecure-ignore-tlog=true", "--allow-http-registry", b.ref)
	}
	if a := attested("release.pub"); a.status == 0 {
		t.Errorf("nothing there: %s", a.out)
	}
	b.want(0, "attest", "--key", b.at("release.key"), "--type", "spdxjson", "--predicate", b.at("predicate.json"), b.ref)
	if a := attested("release.pub"); a.status != 0 {
		t.Errorf("our attestation: %d %s%s", a.status, a.out, a.err)
	}
	if a := attested("other.pub"); a.status == 0 {
		t.Errorf("by another key: %s", a.out)
	}
}

// TestInteropOras has what oras copies and attaches read by ztlaunch.
func TestInteropOras(t *testing.T) {
	b := newBench(t)
	oras := b.with("ZTLAUNCH_ORAS")
	repository, sum, _ := strings.Cut(b.ref, "@")
	b.want(0, "sign", "--key", b.at("release.key"), b.ref)
	verdict := func(key, ref string) answer {
		return b.call("zt", "verify", "--json", "--as", repository, "--key", b.at(key), ref)
	}
	// With its referrers, and without.
	oras.ok("copy", "-r", "--no-tty", "--from-plain-http", "--to-oci-layout", b.ref, b.at("whole")+":plain")
	oras.ok("copy", "--no-tty", "--from-plain-http", "--to-oci-layout", b.ref, b.at("bare")+":plain")
	if a := verdict("release.pub", "oci-layout:"+b.at("whole")+"@"+sum); a.status != 0 {
		t.Errorf("copied with its signature: %d %s", a.status, a.out)
	}
	b.refused("copied, another key", verdict("other.pub", "oci-layout:"+b.at("whole")+"@"+sum), 1, string(reason.SignatureUnproved))
	b.refused("copied without it", verdict("release.pub", "oci-layout:"+b.at("bare")+"@"+sum), 1, string(reason.SignatureAbsent))
	// Attached by oras: a note is shown and proves nothing; a bundle is a bundle.
	b.write("note.txt", "a note")
	for _, more := range [][]string{{"--plain-http", b.ref}, {"--oci-layout", b.at("bare") + ":plain"}} {
		oras.ok(append(append([]string{"attach", "--no-tty", "--artifact-type", "application/vnd.example.note"}, more...), "note.txt:text/plain")...)
	}
	for _, ref := range []string{b.ref, "oci-layout:" + b.at("bare") + "@" + sum} {
		if a := b.call("tree", "tree", "--json", ref); a.status != 0 || !strings.Contains(a.out, "application/vnd.example.note") {
			t.Errorf("tree %s: %d %s", ref, a.status, a.out)
		}
	}
	b.refused("a note is no signature", verdict("release.pub", "oci-layout:"+b.at("bare")+"@"+sum), 1, string(reason.SignatureAbsent))
	b.write("bundle.json", b.bundle("whole"))
	oras.ok("attach", "--no-tty", "--artifact-type", "application/vnd.dev.sigstore.bundle.v0.3+json", "--oci-layout", b.at("bare")+":plain",
		"bundle.json:application/vnd.dev.sigstore.bundle.v0.3+json")
	if a := verdict("release.pub", "oci-layout:"+b.at("bare")+"@"+sum); a.status != 0 {
		t.Errorf("a bundle that oras attached: %d %s", a.status, a.out)
	}
}

// bundle is the one Sigstore bundle among the blobs of a layout.
func (b bench) bundle(layout string) string {
	b.t.Helper()
	entries, err := os.ReadDir(b.at(layout + "/blobs/sha256"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(b.at(layout + "/blobs/sha256/" + e.Name()))
		var bundle struct {
			Envelope json.RawMessage `json:"dsseEnvelope"`
		}
		if err == nil && json.Unmarshal(raw, &bundle) == nil && bundle.Envelope != nil {
			return string(raw)
		}
	}
	b.t.Fatalf("%s: no bundle", layout)
	return ""
}
