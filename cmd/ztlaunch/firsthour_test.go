//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestBuiltItMyself is the README's second transcript: two commands, no prompt.
func TestBuiltItMyself(t *testing.T) {
	l := newLab(t)
	archive := filepath.Join(l.dir, "agent.tar")
	images := filepath.Join(filepath.Dir(l.images), "testbin", "images")
	c := l.cmd()
	c.Path, c.Args = images, []string{images, "archive", "-out", archive, "-format", "docker", "-name", "agent:dev", filepath.Join(l.images, "tools")}
	if a := l.finish(c); a.status != 0 {
		t.Fatalf("make the archive: %s", a.err)
	}
	if a := l.run("run", "--rm", "agent:dev", "true"); a.status != 125 || !strings.Contains(a.err, "policy-absent") {
		t.Errorf("before: status %d, %s", a.status, a.err)
	}
	a := l.ok("adopt", "docker-archive:./agent.tar", "--as", "agent:dev", "--reason", "built here")
	for _, want := range []string{"adopted", "sha256:", "adopt.key", "policy.yaml"} {
		if !strings.Contains(a.out, want) {
			t.Errorf("adopt does not print %q: %s", want, a.out)
		}
	}
	if a := l.ok("run", "-i", "--rm", "--result", "r.json", "agent:dev", "echo", "mine"); a.out != "mine\n" {
		t.Errorf("run: %q", a.out)
	}
	if o := l.outcomeOf("r.json"); !o.Parts[0].Adopted {
		t.Errorf("the record does not say adopted: %+v", o.Parts)
	}
	st, err := os.Stat(filepath.Join(l.root, "config", "adopt.key"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the operator's key: %v %v", st.Mode(), err)
	}
	// Other bytes under the same name, even signed with the operator's own key.
	l.copy(filepath.Join(l.images, "goagent"), "other")
	l.ok("sign", "--key", filepath.Join(l.root, "config", "adopt.key"), "oci-layout:./other")
	if a := l.run("verify", "--as", "agent", "--json", "oci-layout:./other"); a.status != 1 || !strings.Contains(a.out, "digest-not-adopted") {
		t.Errorf("other bytes: status %d, %s", a.status, a.out)
	}
	// Who vouches again, for other bytes under the same name, gets those.
	l.ok("adopt", "oci-layout:./other", "--as", "agent:dev")
	before := l.outcomeOf("r.json").Parts[0].Digest
	l.ok("run", "--rm", "--result", "r.json", "agent:dev", "true")
	if now := l.outcomeOf("r.json").Parts[0].Digest; now == before {
		t.Errorf("adopted again, and %s still runs", now)
	}
	// A CI policy that does not name the operator's key.
	l.write("ci.yaml", "identities: {release: {key: release.pub}}\nimages: [{match: \"**\", require: [{signature: {by: [release]}}]}]\n")
	if a := l.run("verify", "--policy", "ci.yaml", "--json", "agent:dev"); a.status != 1 {
		t.Errorf("under the CI policy: status %d, %s", a.status, a.out)
	}
}

// TestAdoptAtOnce vouches for several names at once, before there is a key: none of
// the rules is lost.
func TestAdoptAtOnce(t *testing.T) {
	l := newLab(t)
	l.copy(filepath.Join(l.images, "tools"), "tools")
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			if out, err := l.cmd("adopt", "oci-layout:./tools", "--as", fmt.Sprintf("agent%d:dev", i)).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	for i := range 4 {
		l.ok("verify", fmt.Sprintf("agent%d:dev", i))
	}
}

// keyless copies an image of tools into the lab and has it signed by a workflow, of
// acme/agent, of the given instance of Sigstore.
func (l *lab) keyless(name string, sigstore *verifytest.Sigstore) evidence.Signer {
	l.t.Helper()
	l.copy(filepath.Join(l.images, "tools"), name)
	ref, err := artifact.Parse("oci-layout:" + filepath.Join(l.dir, name))
	if err != nil {
		l.t.Fatal(err)
	}
	store, err := content.Open(filepath.Join(l.dir, "test-store"))
	if err != nil {
		l.t.Fatal(err)
	}
	ctx := context.Background()
	found, err := fetch.Discover(ctx, ref, fetch.Options{Store: store})
	if err != nil {
		l.t.Fatal(err)
	}
	who := verifytest.GitHub("acme/agent", ".github/workflows/release.yml", "refs/tags/v1", "push")
	statement := verifytest.Statement(l.t, evidence.PredicateCosignSign, struct{}{}, found.Root.Digest.Encoded())
	bundle := sigstore.Attest(l.t, who, statement, verifytest.Options{})
	if _, err := fetch.Attach(ctx, ref, found.Root, bundle, evidence.PredicateCosignSign, fetch.Options{Store: store, Now: time.Now()}); err != nil {
		l.t.Fatal(err)
	}
	return who
}

// TestSignedKeyless is the README's first transcript, against an instance of
// Sigstore in memory: policy init proves first, then run believes exactly that.
func TestSignedKeyless(t *testing.T) {
	l := newLab(t)
	sigstore := verifytest.New(t)
	who := l.keyless("agent", sigstore)
	l.write("root.json", string(sigstore.Root()))
	if a := l.run("policy", "init", "oci-layout:./agent"); a.status == 0 || strings.Contains(a.out, "identities") {
		t.Errorf("an unproved signer was written down: %s", a.out)
	}
	a := l.ok("policy", "init", "--trusted-root", "root.json", "oci-layout:./agent")
	if !strings.Contains(a.err, "acme/agent") || !strings.Contains(a.out, "acme/agent") {
		t.Errorf("init does not say who signed: %s%s", a.err, a.out)
	}
	l.write("policy.yaml", a.out)
	l.ok("policy", "check", "policy.yaml")
	l.ok("policy", "init", "--write", "--trusted-root", "root.json", "oci-layout:./agent")
	if a := l.ok("run", "-i", "--rm", "--trusted-root", "root.json", "oci-layout:./agent", "echo", "proved"); a.out != "proved\n" {
		t.Errorf("run: %q", a.out)
	}
	// Without any network interface, not even a loopback one that is up.
	alone := *l
	alone.as = []string{"unshare", "--net"}
	alone.ok("verify", "--trusted-root", "root.json", "oci-layout:./agent")
	if a := alone.ok("run", "--rm", "--trusted-root", "root.json", "--result", "r.json", "oci-layout:./agent", "echo", "alone"); a.out != "alone\n" {
		t.Errorf("run without a network: %q", a.out)
	}
	if o := l.outcomeOf("r.json"); !o.Parts[0].Local {
		t.Errorf("the result says that a socket was opened: %+v", o.Parts)
	}
	if a := l.run("run", "--rm", "--policy", "policy.yaml", "oci-layout:./agent", "true"); a.status != 125 {
		t.Errorf("under the public root: status %d", a.status)
	}
	for identity, status := range map[string]int{who.SAN: 0, who.SAN + "x": 1, strings.ToUpper(who.SAN): 1} {
		a := l.run("verify", "--trusted-root", "root.json", "--certificate-identity", identity, "--certificate-oidc-issuer", who.Issuer, "oci-layout:./agent")
		if a.status != status {
			t.Errorf("--certificate-identity %s: status %d, want %d\n%s", identity, a.status, status, a.err)
		}
	}
}
