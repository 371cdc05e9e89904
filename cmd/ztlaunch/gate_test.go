//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
)

// gate runs a verb in this process, in the working folder, and returns its status and
// what it printed.
func gate(t *testing.T, root string, args ...string) (status int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	w := world{out: &o, err: &e, env: func(name string) (string, bool) {
		v, ok := map[string]string{"COSIGN_PASSWORD": "", "HOME": root}[name]
		return v, ok
	}, now: time.Now, root: filepath.Join(root, "zt")}
	status = dispatch(w, args)
	return status, o.String(), e.String()
}

// TestN39ZeroAttestationsExitsZero: where there is nothing to prove, or nothing to
// verify, no view and no exit status takes that for success.
func TestN39ZeroAttestationsExitsZero(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if status, _, errs := gate(t, dir, "key", "generate", "--output-key-prefix", "release"); status != 0 {
		t.Fatal(errs)
	}
	img, err := smallImage("bare", "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	p, err := layout.Write("bare", empty.Index)
	if err == nil {
		err = p.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		lock, args string
		status     int
		code       reason.Code
	}{
		"no-attestation": {"", "verify --json --report sarif=r.sarif --key release.pub oci-layout:./bare", 1, reason.SignatureAbsent},
		"no-lock":        {"", "verify --json --report sarif=r.sarif --key release.pub", 2, reason.LockAbsent},
		"no-entry":       {"version: 1\nentries: []\n", "verify --json --report sarif=r.sarif --key release.pub", 2, reason.LockEmpty},
		"check-no-entry": {"version: 1\nentries: []\n", "lock --check --json --key release.pub", 2, reason.LockEmpty},
		"no-policy":      {"", "verify --json --report sarif=r.sarif oci-layout:./bare", 1, reason.PolicyAbsent},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove("r.sarif")
			os.Remove(lockFile)
			if c.lock != "" {
				if err := os.WriteFile(lockFile, []byte(c.lock), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			status, out, errs := gate(t, dir, strings.Fields(c.args)...)
			var v struct{ Exit int }
			if err := json.Unmarshal([]byte(out), &v); err != nil || status != c.status || v.Exit != status || !strings.Contains(out, string(c.code)) {
				t.Errorf("status %d, want %d; %v: %s%s", status, c.status, err, out, errs)
			}
			if strings.HasPrefix(c.args, "verify") {
				if raw, err := os.ReadFile("r.sarif"); err != nil || !strings.Contains(string(raw), `"ruleId": "`+string(c.code)) {
					t.Errorf("the report: %v: %s", err, raw)
				}
			}
		})
	}
	if got := report.Exit(); got != reason.InternalFault.Class().Exit() {
		t.Errorf("no verdict at all exits %d", got)
	}
}

// turning is a registry that leads a tag to another image each time that the tag is
// asked for, and says how often it was.
type turning struct {
	http.Handler
	mu      sync.Mutex
	asked   int
	digests []string
}

func (r *turning) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if path, ok := strings.CutSuffix(req.URL.Path, "/manifests/turning"); ok && req.Method != http.MethodPut {
		r.mu.Lock()
		req = req.Clone(req.Context())
		req.URL.Path = path + "/manifests/" + r.digests[r.asked%len(r.digests)]
		r.asked++
		r.mu.Unlock()
	}
	r.Handler.ServeHTTP(w, req)
}

// TestN31TagReresolvedAfterVerification: a tag is asked for once; what is verified,
// locked and run is that one digest, and when the tag leads elsewhere later, tag-moved
// or lock-outdated says so.
func TestN31TagReresolvedAfterVerification(t *testing.T) {
	l := newLab(t)
	t.Chdir(l.dir)
	r := &turning{Handler: registry.New(registry.WithReferrersSupport(true))}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	good := l.image("tools")
	l.ok("copy", good, host+"/agents/tools:good")
	ref, err := name.ParseReference(host+"/agents/tools:good", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	head, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	other, err := smallImage("unsigned and other", "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	bad, err := other.Digest()
	if err == nil {
		err = remote.Write(ref.Context().Digest(bad.String()), other)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.digests = []string{head.Digest.String(), bad.String()}
	turning := host + "/agents/tools:turning"

	a := l.run("run", "--key", "release.pub", turning, "echo", "ran")
	if a.status != 0 || a.out != "ran\n" || r.asked != 1 {
		t.Errorf("run: %d %q %s, and the tag was asked for %d times", a.status, a.out, a.err, r.asked)
	}
	if a = l.run("run", "--key", "release.pub", "--pull", "always", turning, "echo", "ran"); a.status != 125 || !strings.Contains(a.err, string(reason.TagMoved)) || a.out != "" {
		t.Errorf("a moved tag: %d %q %s", a.status, a.out, a.err)
	}
	r.asked = 0
	l.ok("lock", "--key", "release.pub", "--pull", "always", turning)
	if r.asked != 1 {
		t.Errorf("lock asked for the tag %d times", r.asked)
	}
	l.ok("verify", "--key", "release.pub") // at the locked digest
	if r.asked != 1 {
		t.Errorf("verify asked for the locked tag %d times", r.asked-1)
	}
	if a = l.run("verify", "--key", "release.pub", "--pull", "always"); a.status != 1 || !strings.Contains(a.err, string(reason.LockOutdated)) {
		t.Errorf("the locked tag moved: %d %s", a.status, a.err)
	}
}
