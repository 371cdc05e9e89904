package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ztlaunch/ztlaunch/testdata/images/oci"
)

// TestMain lets the test binary be the program, for what needs a process.
func TestMain(m *testing.M) {
	if os.Getenv("ZTLAUNCH_SBOM_RUN") != "" {
		os.Exit(process())
	}
	os.Exit(m.Run())
}

// TestN53EnvironmentStaysOut: secrets in the environment of the program that makes
// SBOMs stay out: they are in no document and no message. It needs no network, and its
// temporary files are gone.
func TestN53EnvironmentStaysOut(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	c := exec.Command(self, "oci-layout:"+layout(t, userland(t)))
	c.Env = append(os.Environ(), "ZTLAUNCH_SBOM_RUN=1", "TMPDIR="+temp, "SOURCE_DATE_EPOCH=86400",
		"COSIGN_PASSWORD=hunter2-secret", "SYFT_ATTEST_PASSWORD=hunter2-secret", "HOME=/hunter2-secret", "USER=hunter2-secret")
	var errs bytes.Buffer
	c.Stderr = &errs
	// A network namespace of its own has no interface that is up.
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	out, err := c.Output()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Log("no network namespace here: with the host's network")
		again := exec.Command(self, c.Args[1:]...)
		again.Env, again.Stderr = c.Env, &errs
		out, err = again.Output()
	}
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	d := readSPDX(t, string(out))
	differ(t, d.hashes(t), files())
	if d.CreationInfo.Created != "1970-01-02T00:00:00Z" {
		t.Errorf("created %s", d.CreationInfo.Created)
	}
	if bytes.Contains(out, []byte("hunter2")) || strings.Contains(errs.String(), "hunter2") {
		t.Error("the environment leaked")
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestDebian holds the document of a real userland against its own tar files.
func TestDebian(t *testing.T) {
	dir := os.Getenv("ZTLAUNCH_DEBIAN")
	if _, err := os.Stat(filepath.Join(dir, "index.json")); dir == "" || err != nil {
		t.Skip("ZTLAUNCH_E2E: no Debian image (make images)")
	}
	image, err := oci.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		in, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(in); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			name := path.Clean(h.Name)
			switch h.Typeflag {
			case tar.TypeReg:
				sum := sha256.New()
				if _, err := io.Copy(sum, r); err != nil {
					t.Fatal(err)
				}
				want[name] = hex.EncodeToString(sum.Sum(nil))
			case tar.TypeLink:
				want[name] = want[path.Clean(h.Linkname)]
			}
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--name", "debian", "oci-layout:" + dir}
	code, out, errs := sbomOf(args...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	d := readSPDX(t, out)
	differ(t, d.hashes(t), want)
	if len(want) < 3000 || len(d.Packages) < 50 {
		t.Errorf("%d files, %d packages: not a Debian", len(want), len(d.Packages))
	}
	if _, again, _ := sbomOf(args...); again != out {
		t.Error("the same image gave other bytes")
	}
}
