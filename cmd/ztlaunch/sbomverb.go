package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/sbom"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// sbomVerb makes an SBOM with the generator, a program of its own.
func sbomVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("sbom", true)
	var from fetchFlags
	format := fs.String("format", "spdx-json", "spdx-json or cyclonedx-json")
	from.declare(fs)
	if err := w.parse(fs, "create [flags] REF | model:DIR | ./FOLDER", args); err != nil {
		return w.parsed("sbom", err)
	}
	if fs.NArg() != 2 || fs.Arg(0) != "create" || *format != "spdx-json" && *format != "cyclonedx-json" {
		return w.fail("sbom", wrong("read the command", "create, and one image, model or folder; --format spdx-json or cyclonedx-json", "ztlaunch sbom create REF"))
	}
	document, err := w.createSBOM(ctx, fs.Arg(1), *format, &from)
	if err == nil {
		_, err = w.out.Write(document)
		err = outputError(err)
	}
	if err != nil {
		return w.fail("sbom", err)
	}
	return 0
}

func (w world) createSBOM(ctx context.Context, word, format string, from *fetchFlags) ([]byte, error) {
	if strings.HasPrefix(word, "/") || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../") {
		if _, err := os.Stat(word); err != nil {
			return nil, &reason.Error{Code: reason.FileUnreadable, What: "read " + word, Expected: "a folder", Err: err, Next: "name a folder that is there"}
		}
		return w.generate(ctx, "--format", format, "dir:"+word)
	}
	if st, err := os.Stat(word); err == nil && st.IsDir() {
		return nil, &reason.Error{Code: reason.ReferenceUnclear, What: "read " + word, Expected: "./ before a folder, or the whole name of an image",
			Found: "what may be the folder " + word + " here, or an image", Next: "ztlaunch sbom create " + reason.Word("./"+word)}
	}
	ref, err := parseRef(word, "")
	if err != nil {
		return nil, err
	}
	if ref.Kind() == artifact.Model {
		return w.describeModel(ctx, ref, format)
	}
	if ref.Kind() != artifact.Image {
		return nil, wrong("describe "+word, "an image, a model or a folder", "ztlaunch sbom create ./FOLDER")
	}
	o, err := from.options(w)
	if err != nil {
		return nil, err
	}
	found, err := fetch.Discover(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	return w.describe(ctx, ref, found.Manifest.Digest, format, o)
}

// describe makes an SBOM of one image: the generator reads a layout that holds
// nothing else, and no registry.
func (w world) describe(ctx context.Context, source artifact.Reference, manifest digest.Digest, format string, o fetch.Options) ([]byte, error) {
	scratch, err := os.MkdirTemp("", "ztlaunch-sbom-*")
	if err != nil {
		return nil, &reason.Error{Code: reason.FileUnwritable, What: "make a temporary folder", Err: err}
	}
	defer os.RemoveAll(scratch)
	layout := filepath.Join(scratch, "layout")
	to, err := artifact.Parse("oci-layout:" + layout)
	if err != nil {
		return nil, err
	}
	if _, err := fetch.Copy(ctx, source, to, o); err != nil {
		return nil, err
	}
	return w.generate(ctx, "--format", format, "--name", source.Name(), "oci-layout:"+layout+"@"+manifest.String())
}

// describeModel makes an SBOM of exactly the files of a signed model. The generator
// reads the folder; what it says is held against the signed files.
func (w world) describeModel(ctx context.Context, ref artifact.Reference, format string) ([]byte, error) {
	d, err := signedModel(ctx, ref)
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(ref.Path()); err != nil || !st.IsDir() {
		return nil, wrong("describe "+ref.String(), "a model that is a folder", "sign the folder of the file: ztlaunch sign --key KEY model:DIR")
	}
	at, err := filepath.Abs(d.Folder)
	if err == nil {
		at, err = filepath.EvalSymlinks(at)
	}
	if err != nil {
		return nil, &reason.Error{Code: reason.FileUnreadable, What: "find " + d.Folder, Err: err}
	}
	args := []string{"--format", format, "--name", ref.Name()}
	for _, p := range d.Ignored {
		args = append(args, "--exclude", p)
	}
	document, err := w.generate(ctx, append(args, "dir:"+at)...)
	if err != nil {
		return nil, err
	}
	said, err := sbom.Parse(document)
	if err != nil {
		return nil, err
	}
	var entries []sbom.Entry
	for e := range d.Tree.Entries() {
		if e.Type == tree.File {
			entries = append(entries, sbom.Entry{Path: e.Path, Regular: true, SHA256: e.Digest.Encoded()})
		}
	}
	if c := sbom.Compare(said, entries); c.Listed != len(entries) || len(c.Absent) > 0 {
		return nil, &reason.Error{Code: reason.SBOMToolFailed, What: "make the SBOM", Expected: fmt.Sprintf("the %d signed files and no others", len(entries)),
			Found: fmt.Sprintf("%d of them, and %d others", c.Listed, len(c.Absent)), Next: "try again while nobody changes the folder"}
	}
	return document, nil
}

// generate runs the generator, which sees nothing of this environment but the time
// that a document is to bear.
func (w world) generate(ctx context.Context, args ...string) ([]byte, error) {
	tool, err := besides("ztlaunch-sbom")
	if err != nil {
		return nil, err
	}
	out, problems := capped{most: 1 << 30}, capped{most: 64 << 10} // what an image makes it say has no bound of its own
	c := exec.CommandContext(ctx, tool, args...)
	c.Env, c.Stdout, c.Stderr = []string{}, &out, &problems
	if epoch, ok := w.env("SOURCE_DATE_EPOCH"); ok {
		c.Env = append(c.Env, "SOURCE_DATE_EPOCH="+epoch)
	}
	err = c.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return nil, &reason.Error{Code: reason.SBOMToolFailed, What: "make the SBOM", Expected: "a document from " + tool,
			Found: strings.TrimSpace(problems.String()), Err: err}
	case err != nil:
		return nil, &reason.Error{Code: reason.SBOMToolFailed, What: "make the SBOM", Expected: tool + " to run", Err: err}
	}
	return out.Bytes(), nil
}

// capped is a buffer that takes no more than most bytes.
type capped struct {
	bytes.Buffer
	most int
}

func (c *capped) Write(p []byte) (int, error) {
	if c.Len()+len(p) > c.most {
		return 0, fmt.Errorf("more than %d bytes", c.most)
	}
	return c.Buffer.Write(p)
}

// besides finds a program that is installed with this one.
func besides(name string) (string, error) {
	exe, err := os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return "", &reason.Error{Code: reason.InternalFault, What: "find this program", Err: err}
	}
	dir := filepath.Dir(exe)
	for _, at := range []string{filepath.Join(dir, name), filepath.Join(dir, "..", "libexec", "ztlaunch", name)} {
		if st, err := os.Stat(at); err == nil && st.Mode().IsRegular() {
			return at, nil
		}
	}
	return "", &reason.Error{Code: reason.SBOMToolAbsent, What: "find " + name, Expected: name + " beside " + exe,
		Found: "nothing", Next: "install ztlaunch with make install"}
}
