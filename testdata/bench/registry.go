package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// remote measures a verification of one image in a registry on loopback, beside
// cosign's of the same evidence. Neither takes anything from an earlier decision, and
// both ask the registry each time (--pull always). ztlaunch does more: it reads
// manifest and config, looks under older tags too, and brings every layer into its
// store, hashed and listed. "first" includes that, which is nearly all of its time;
// "again" finds the layers there, as cosign finds none and looks for none.
func remote(name, layout string, zt []string, rounds int) error {
	cosign := os.Getenv("ZTLAUNCH_COSIGN")
	if cosign == "" {
		fmt.Println("\nverify: no cosign; make bench builds it")
		return nil
	}
	host, stop, err := serve()
	if err != nil {
		return err
	}
	defer stop()
	repository := host + "/bench/" + name
	for _, tag := range []string{"key", "keyless"} {
		if err := quiet(append(slices.Clone(zt), "copy", "oci-layout:"+layout, repository+"-"+tag+":1")...); err != nil {
			return err
		}
	}
	if err := quiet(append(slices.Clone(zt), "sign", "--key", "k.key", repository+"-key:1")...); err != nil {
		return err
	}
	who, err := keyless(repository + "-keyless:1")
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name   string
		cosign []string
		ours   []string
	}{
		{"key", []string{"--key", "k.pub", "--insecure-ignore-tlog=true"}, []string{"--key", "k.pub"}},
		{"keyless", []string{"--certificate-identity", who.SAN, "--certificate-oidc-issuer", who.Issuer},
			[]string{"--trusted-root", "root.json", "--certificate-identity", who.SAN, "--certificate-oidc-issuer", who.Issuer}},
	} {
		ref := repository + "-" + kind.name + ":1"
		empty, _ := filepath.Abs("empty")
		verify := append([]string{"verify", "--pull", "always"}, kind.ours...)
		all := []*contender{
			{name: "cosign verify", args: append(append([]string{cosign, "verify", "--trusted-root", "root.json", "--allow-http-registry"}, kind.cosign...), ref)},
			{name: "ztlaunch, first", before: func() error { return os.RemoveAll(empty) }, args: append(append([]string{zt[0], "--root", empty}, verify...), ref)},
			{name: "ztlaunch, again", args: append(append(slices.Clone(zt), verify...), ref)},
		}
		for _, c := range all {
			c.count = func() (int64, error) { return asked(host) }
		}
		if err := measure("verify, "+kind.name+", "+name+" image in a registry (ztlaunch first: fetches, hashes and lists all layers too)", rounds, 0, all, "cosign verify"); err != nil {
			return err
		}
		if err := os.RemoveAll(empty); err != nil {
			return err
		}
	}
	return nil
}

// hold is a registry in memory, on a port of loopback that it prints, until its
// standard input ends. GET /asked says how many requests it got besides.
func hold() error {
	var asked atomic.Int64
	inner := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/asked" {
			fmt.Fprint(w, asked.Load())
			return
		}
		asked.Add(1)
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	fmt.Println(strings.TrimPrefix(server.URL, "http://"))
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// serve holds a registry in a process of its own: what a process has resident when it
// starts another counts as the other's peak too.
func serve() (host string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	c := exec.Command(self, "-registry")
	in, err := c.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err == nil {
		_, err = fmt.Fscanln(out, &host)
	}
	return host, func() { _, _ = in.Close(), c.Wait() }, err
}

func asked(host string) (n int64, err error) {
	resp, err := http.Get("http://" + host + "/asked")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = fmt.Fscan(resp.Body, &n)
	return n, err
}

// keyless signs an image by a certificate, with a log and a timestamp, of a Sigstore
// in memory, whose root it writes to root.json.
func keyless(word string) (evidence.Signer, error) {
	t := &program{}
	sigstore := verifytest.New(t)
	who := verifytest.GitHub("acme/agent", ".github/workflows/release.yml", "refs/tags/v1", "push")
	ref, err := artifact.Parse(word)
	if err != nil {
		return who, err
	}
	store, err := content.Open("keyless-store")
	if err != nil {
		return who, err
	}
	o := fetch.Options{Store: store, Now: time.Now()}
	found, err := fetch.Discover(context.Background(), ref, o)
	if err != nil {
		return who, err
	}
	bundle := sigstore.Attest(t, who, verifytest.Statement(t, evidence.PredicateCosignSign, struct{}{}, found.Root.Digest.Encoded()), verifytest.Options{})
	if _, err := fetch.Attach(context.Background(), ref, found.Root, bundle, evidence.PredicateCosignSign, o); err != nil {
		return who, err
	}
	return who, os.WriteFile("root.json", sigstore.Root(), 0o600)
}

// program stands in for a test where a package for tests wants one.
type program struct{ testing.TB }

func (*program) Helper()          {}
func (*program) Fatal(all ...any) { panic(fmt.Sprint(all...)) }
func (*program) Fatalf(format string, all ...any) {
	panic(fmt.Sprintf(format, all...))
}

// peak runs a command and returns the most memory that it had resident, in bytes.
func peak(args ...string) (int64, error) {
	c := exec.Command(args[0], args[1:]...)
	out, err := c.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10, nil
}
