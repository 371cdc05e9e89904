//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the golden text of scripts")

// TestMain lets scripts run this very program as ztlaunch.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ztlaunch": main})
}

// TestScript runs testdata/script/*.txtar, which need no root and no runtime.
//
// Besides testscript's own commands there are:
//
//	zt STATUS ARG...  ztlaunch --root $WORK/zt ARG..., which must end with STATUS
//	refused CODE      the last zt printed that refusal, with expected, found and next
//	agrees [CODE]     the last zt printed one JSON object whose exit is its status
//	layout DIR [OS/ARCH]  make an image of one file
//	registry NAME     serve an empty registry; $NAME is its address
//	chain IMAGE DIR [inspect | expired]  an in-toto layout by owner.pub, and the links of its two steps, which made IMAGE
//	closed NAME       $NAME is an address that nobody listens at
func TestScript(t *testing.T) {
	testscript.Run(t, params("testdata/script", nil))
}

// TestScriptBox runs testdata/script/box/*.txtar with the built programs, as
// root: their tasks run in real boxes. "image DIR" copies an image of small
// tools and signs it with release.key, which is there.
func TestScriptBox(t *testing.T) {
	l := newLab(t)
	p := params("testdata/script/box", l)
	p.WorkdirRoot = filepath.Join(l.dir, "work")
	if err := os.Mkdir(p.WorkdirRoot, 0o755); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, p)
}

// last is what the zt before did.
type last struct{ status int }

func params(dir string, l *lab) testscript.Params {
	return testscript.Params{
		Dir: dir, UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("COSIGN_PASSWORD", "")
			e.Setenv("HOME", e.WorkDir)
			repo, err := filepath.Abs(filepath.Join("..", ".."))
			if err != nil {
				return err
			}
			e.Setenv("REPO", repo)
			e.Values["last"] = &last{}
			if l == nil {
				return nil
			}
			e.Setenv("PATH", l.bin+":"+e.Getenv("PATH"))
			e.Setenv("IMAGES", l.images)
			e.Defer(func() {
				own := lab{t: l.t, dir: e.WorkDir, bin: l.bin, root: filepath.Join(e.WorkDir, "zt")}
				own.ok("store", "prune")
				own.leftovers()
			})
			for _, name := range []string{"release.key", "release.pub"} {
				raw, err := os.ReadFile(filepath.Join(l.dir, name))
				if err == nil {
					err = os.WriteFile(filepath.Join(e.WorkDir, name), raw, 0o600)
				}
				if err != nil {
					return err
				}
			}
			return os.Chmod(e.WorkDir, 0o755)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"zt": zt, "refused": refused, "agrees": agrees, "layout": makeLayout, "registry": serveRegistry, "closed": closedPort, "image": boxImage,
			"chain": makeChain,
		},
	}
}

func zt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: zt STATUS ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("ztlaunch", append([]string{"--root", ts.MkAbs(filepath.Join(ts.Getenv("WORK"), "zt"))}, args[1:]...)...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	ts.Value("last").(*last).status = got
	if got != want {
		ts.Fatalf("ztlaunch %s: status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func refused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: refused CODE")
	}
	said := ts.ReadFile("stderr")
	if !strings.Contains(said, ": "+args[0]+": ") && !strings.Contains(said, " "+args[0]+"  ") {
		ts.Fatalf("no %s in %q", args[0], said)
	}
	for _, line := range []string{"expected", "found", "next"} {
		if !strings.Contains(said, "  "+line) {
			ts.Fatalf("%s does not say what was %s: %q", args[0], line, said)
		}
	}
}

func agrees(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: agrees [CODE]")
	}
	var v struct {
		Schema, Code string
		Exit         *int
		Findings     []struct{ Code string }
	}
	out := ts.ReadFile("stdout")
	ts.Check(json.Unmarshal([]byte(out), &v))
	status := ts.Value("last").(*last).status
	if v.Schema == "" || v.Exit == nil || *v.Exit != status {
		ts.Fatalf("status %d, and the output says %s", status, out)
	}
	if len(args) == 1 && v.Code != args[0] && !strings.Contains(out, strconv.Quote(args[0])) {
		ts.Fatalf("no %s in %s", args[0], out)
	}
}

// makeLayout makes an image of one small file, for one platform.
func makeLayout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: layout DIR [OS/ARCH]")
	}
	platform := "linux/amd64"
	if len(args) == 2 {
		platform = args[1]
	}
	img, err := smallImage(args[0], platform)
	ts.Check(err)
	p, err := layout.Write(ts.MkAbs(args[0]), empty.Index)
	ts.Check(err)
	ts.Check(p.AppendImage(img))
}

// smallImage is an image whose one file says text.
func smallImage(text, platform string) (v1.Image, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: "agent", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(text))})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, "application/vnd.oci.image.manifest.v1+json"), l)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file.OS, file.Architecture, _ = strings.Cut(platform, "/")
	return mutate.ConfigFile(mutate.ConfigMediaType(img, "application/vnd.oci.image.config.v1+json"), file)
}

func serveRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: registry NAME")
	}
	s := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	ts.Defer(s.Close)
	ts.Setenv(args[0], strings.TrimPrefix(s.URL, "http://"))
}

func closedPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: closed NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

func boxImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: image DIR")
	}
	ts.Check(os.CopyFS(ts.MkAbs(args[0]), os.DirFS(filepath.Join(ts.Getenv("IMAGES"), "tools"))))
	ts.Check(ts.Exec("ztlaunch", "--root", filepath.Join(ts.Getenv("WORK"), "zt"), "sign", "--key", filepath.Join(ts.Getenv("WORK"), "release.key"),
		"oci-layout:"+ts.MkAbs(args[0])))
}
