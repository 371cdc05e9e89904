//go:build linux

package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// attach puts a signature by sign on the layout of that name.
func (d desk) attach(name string, sign func(statement []byte) []byte) string {
	d.t.Helper()
	d.layoutOf(name)
	ref, err := artifact.Parse("oci-layout:" + d.at(name))
	if err != nil {
		d.t.Fatal(err)
	}
	store, err := content.Open(d.at("test-store"))
	if err != nil {
		d.t.Fatal(err)
	}
	ctx := context.Background()
	found, err := fetch.Discover(ctx, ref, fetch.Options{Store: store})
	if err != nil {
		d.t.Fatal(err)
	}
	bundle := sign(verifytest.Statement(d.t, evidence.PredicateCosignSign, struct{}{}, found.Root.Digest.Encoded()))
	if _, err := fetch.Attach(ctx, ref, found.Root, bundle, evidence.PredicateCosignSign, fetch.Options{Store: store, Now: time.Now()}); err != nil {
		d.t.Fatal(err)
	}
	return ref.String()
}

func (d desk) file(name string, raw []byte) string {
	d.t.Helper()
	if err := os.WriteFile(d.at(name), raw, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.at(name)
}

// TestCertificateChain: a certificate of a private authority is believed by flags
// and by a policy, by that authority alone, and never as a keyless one.
func TestCertificateChain(t *testing.T) {
	d := newDesk(t)
	private, stranger := verifytest.NewPrivate(t, verifytest.PrivateConfig{}), verifytest.NewPrivate(t, verifytest.PrivateConfig{})
	ours, theirs := d.file("ca.pem", private.PEM()), d.file("other.pem", stranger.PEM())
	dev := evidence.Signer{SAN: "dev@acme.example", SANType: "email"}
	ref := d.attach("certified", func(st []byte) []byte {
		return private.Attest(t, dev, st, verifytest.PrivateOptions{From: time.Now().Add(-time.Hour)})
	})
	a := d.want(0, "verify", "--json", "--certificate-chain", ours, "--certificate-identity", dev.SAN, ref)
	var v report.Verdict
	if err := json.Unmarshal([]byte(a.out), &v); err != nil || len(v.Signers) != 1 || v.Signers[0].SAN != dev.SAN || v.Signers[0].Authority == "" || v.Signers[0].Issuer != "" {
		t.Errorf("%v: %s", err, a.out)
	}
	for what, c := range map[string]struct {
		code reason.Code
		args []string
	}{
		"another-authority": {reason.SignatureUnproved, []string{"--certificate-chain", theirs, "--certificate-identity", dev.SAN}},
		"another-name":      {reason.SignatureWrongIdentity, []string{"--certificate-chain", ours, "--certificate-identity", "ops@acme.example"}},
		"as-keyless":        {reason.SignatureUnproved, []string{"--certificate-oidc-issuer", "https://accounts.example", "--certificate-identity", dev.SAN}},
		"as-key":            {reason.SignatureUnproved, []string{"--key", d.at("release.pub")}},
	} {
		d.refused(what, d.call("zt", append(append([]string{"verify", "--json"}, c.args...), ref)...), 1, string(c.code))
	}
	file := d.file("policy.yaml", []byte("identities: {staff: {certificate: {authority: ca.pem, san: \"*@acme.example\"}}}\nimages: [{match: localhost/certified, require: [{signature: {by: [staff]}}]}]\n"))
	d.want(0, "verify", "--policy", file, ref)
	if a := d.want(0, "tree", ref); !strings.Contains(a.out, dev.SAN) {
		t.Errorf("tree does not say who: %s", a.out)
	}
}

// TestCallerIsShown: tree, the text and the JSON of a verdict name the workflow
// that was started and the reusable one that signed.
func TestCallerIsShown(t *testing.T) {
	d, sigstore := newDesk(t), verifytest.New(t)
	who := verifytest.GitHub("acme/agent", ".github/workflows/release.yml", "refs/tags/v1", "push")
	caller := who.BuildConfigURI
	who.SAN, who.BuildSignerURI = "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v2", "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v2"
	root := d.file("root.json", sigstore.Root())
	ref := d.attach("called", func(st []byte) []byte { return sigstore.Attest(t, who, st, verifytest.Options{}) })
	flags := []string{"verify", "--trusted-root", root, "--certificate-oidc-issuer", who.Issuer, "--certificate-identity", who.SAN}
	for what, text := range map[string]string{
		"tree": d.want(0, "tree", ref).out, "tree --json": d.want(0, "tree", "--json", ref).out,
		"text": d.want(0, append(flags, ref)...).err, "json": d.want(0, append(flags, "--json", ref)...).out,
	} {
		if !strings.Contains(text, caller) || !strings.Contains(text, who.SAN) {
			t.Errorf("%s lacks one of the workflows: %s", what, text)
		}
	}
}
