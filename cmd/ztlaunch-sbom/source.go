package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/image"
	syft "github.com/anchore/syft/syft/source"
	"github.com/anchore/syft/syft/source/directorysource"
	"github.com/anchore/syft/syft/source/stereoscopesource"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// source is what a SOURCE word says.
type source struct {
	scheme string
	path   string
	digest v1.Hash // zero: the only image, or the one for the platform
}

func parseSource(s string) (source, error) {
	scheme, path, ok := strings.Cut(s, ":")
	if !ok || path == "" {
		return source{}, usage{fmt.Errorf("source %q: want SCHEME:PATH", s)}
	}
	src := source{scheme: scheme, path: path}
	switch scheme {
	case "dir", "oci-archive", "docker-archive":
	case "oci-layout":
		if at := strings.LastIndex(path, "@"); at >= 0 {
			digest, err := v1.NewHash(path[at+1:])
			if err != nil || digest.Algorithm != "sha256" {
				return source{}, usage{fmt.Errorf("source %q: want @sha256:HEX", s)}
			}
			src.path, src.digest = path[:at], digest
		}
	default:
		return source{}, usage{fmt.Errorf("source %q: unknown scheme %q", s, scheme)}
	}
	return src, nil
}

func (s source) String() string {
	if s.digest != (v1.Hash{}) {
		return s.scheme + ":" + s.path + "@" + s.digest.String()
	}
	return s.scheme + ":" + s.path
}

// base is the name of a source that was given none. It holds no folder of the host's.
func (s source) base() string { return filepath.Base(filepath.Clean(s.path)) }

// open makes the source ready for the catalogers, with temporary files in temp.
// An image's blobs and layers are hashed here, before any cataloger reads them.
func (s source) open(ctx context.Context, o options, temp string) (syft.Source, error) {
	alias := syft.Alias{Name: o.name}
	var (
		img v1.Image
		err error
	)
	switch s.scheme {
	case "dir":
		// With a base, a link out of the folder stays inside it.
		return directorysource.New(directorysource.Config{Path: s.path, Base: s.path, Alias: alias, Exclude: syft.ExcludeConfig{Paths: excluded(o.exclude)}})
	case "oci-layout":
		img, err = selectImage(s.path, s.digest, o.platform)
	case "oci-archive":
		dir := filepath.Join(temp, "layout")
		if err = unpackLayout(s.path, dir); err == nil {
			img, err = selectImage(dir, s.digest, o.platform)
		}
	case "docker-archive":
		img, err = tarball.ImageFromPath(s.path, nil)
	default:
		err = fmt.Errorf("unknown scheme %q", s.scheme)
	}
	if err != nil {
		return nil, err
	}
	if err := verifyLayers(img); err != nil {
		return nil, err
	}
	var extra []image.AdditionalMetadata
	if s.scheme != "docker-archive" { // whose manifest nobody wrote
		digest, err := img.Digest()
		if err != nil {
			return nil, fmt.Errorf("hash manifest: %w", err)
		}
		extra = append(extra, image.WithManifestDigest(digest.String()))
	}
	content := filepath.Join(temp, "content")
	if err := os.Mkdir(content, 0o700); err != nil {
		return nil, err
	}
	out := image.New(img, file.NewTempDirGenerator("ztlaunch-sbom"), content, extra...)
	if err := out.Read(ctx); err != nil {
		return nil, errors.Join(err, out.Cleanup())
	}
	return stereoscopesource.New(out, stereoscopesource.ImageConfig{Reference: o.name, Alias: alias}), nil
}

// excluded writes paths as patterns that match nothing else.
func excluded(paths []string) []string {
	quote := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`)
	var all []string
	for _, p := range paths {
		all = append(all, "./"+quote.Replace(p))
	}
	return all
}

// layoutFile is what a layout has: anything else in an archive is not unpacked.
var layoutFile = regexp.MustCompile(`^(oci-layout|index\.json|blobs/sha256/[0-9a-f]{64})$`)

// unpackLayout writes the layout files of an oci-archive into dir.
func unpackLayout(archive, dir string) error {
	in, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		return err
	}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive %s: %w", archive, err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag != tar.TypeReg || !layoutFile.MatchString(name) {
			continue
		}
		out, err := os.OpenFile(filepath.Join(dir, filepath.FromSlash(name)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("read archive %s: %w", archive, err)
		}
		if _, err := io.Copy(out, r); err != nil {
			return errors.Join(fmt.Errorf("read archive %s: %w", archive, err), out.Close())
		}
		if err := out.Close(); err != nil {
			return err
		}
	}
}
