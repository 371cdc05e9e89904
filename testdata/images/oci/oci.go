// Package oci makes the container images that tests and the demo run, as OCI image
// layouts, and damages them on purpose. The same input gives the same digest: entries
// sorted by path, one fixed time, owners as given, gzip without a time stamp.
//
// It makes well-formed images only, but for Corrupt, which edits a blob where it lies
// and leaves its name alone. It signs nothing and talks to no registry.
package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Created is the time of every image, entry and history line.
var Created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// refName is the annotation under which a layout keeps a tag (image-spec annotations.md).
const refName = "org.opencontainers.image.ref.name"

// Spec describes an image: a base layer, if any, below one layer of files.
type Spec struct {
	Base     string // an uncompressed root file system tar; "" is FROM scratch
	Files    []File
	Config   v1.Config
	Platform v1.Platform
}

// Build makes the image. A Spec without base and files has no layer.
func Build(s Spec) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	config := &v1.ConfigFile{
		Created:      v1.Time{Time: Created},
		OS:           s.Platform.OS,
		Architecture: s.Platform.Architecture,
		Variant:      s.Platform.Variant,
		Config:       s.Config,
		RootFS:       v1.RootFS{Type: "layers"},
	}
	image, err := mutate.ConfigFile(image, config)
	if err != nil {
		return nil, fmt.Errorf("write config: %w", err)
	}
	if s.Base != "" {
		layer, err := tarLayer(s.Base)
		if err != nil {
			return nil, err
		}
		if image, err = appendLayer(image, layer, "base"); err != nil {
			return nil, err
		}
	}
	if len(s.Files) == 0 {
		return image, nil
	}
	return Append(image, s.Files...)
}

// Append adds one layer with these files on top.
func Append(image v1.Image, files ...File) (v1.Image, error) {
	layer, err := fileLayer(files)
	if err != nil {
		return nil, err
	}
	return appendLayer(image, layer, "files")
}

func appendLayer(image v1.Image, layer v1.Layer, by string) (v1.Image, error) {
	out, err := mutate.Append(image, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{Created: v1.Time{Time: Created}, CreatedBy: by},
	})
	if err != nil {
		return nil, fmt.Errorf("append layer: %w", err)
	}
	return out, nil
}

// Write makes dir a layout that holds only this image, under tag if that is not
// empty, and returns the manifest's digest. What was in dir is gone.
func Write(dir string, image v1.Image, tag string) (v1.Hash, error) {
	digest, err := image.Digest()
	if err != nil {
		return digest, fmt.Errorf("hash manifest: %w", err)
	}
	path, err := fresh(dir)
	if err != nil {
		return digest, err
	}
	options := []layout.Option{}
	config, err := image.ConfigFile()
	if err != nil {
		return digest, fmt.Errorf("read config: %w", err)
	}
	options = append(options, layout.WithPlatform(*config.Platform()))
	if tag != "" {
		options = append(options, layout.WithAnnotations(map[string]string{refName: tag}))
	}
	if err := path.AppendImage(image, options...); err != nil {
		return digest, fmt.Errorf("write layout %s: %w", dir, err)
	}
	return digest, nil
}

// WriteIndex makes dir a layout that holds one image index over the images, each
// under its own platform, and returns the index's digest.
func WriteIndex(dir, tag string, images ...v1.Image) (v1.Hash, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return v1.Hash{}, fmt.Errorf("read config: %w", err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: config.Platform()},
		})
	}
	digest, err := index.Digest()
	if err != nil {
		return digest, fmt.Errorf("hash index: %w", err)
	}
	path, err := fresh(dir)
	if err != nil {
		return digest, err
	}
	var options []layout.Option
	if tag != "" {
		options = append(options, layout.WithAnnotations(map[string]string{refName: tag}))
	}
	if err := path.AppendIndex(index, options...); err != nil {
		return digest, fmt.Errorf("write layout %s: %w", dir, err)
	}
	return digest, nil
}

// Read returns the only image of a layout that Write made.
func Read(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	if n := len(manifest.Manifests); n != 1 || !manifest.Manifests[0].MediaType.IsImage() {
		return nil, fmt.Errorf("read layout %s: %d manifests, want one image", dir, n)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	return image, nil
}

// fresh empties dir and makes it a layout without manifests.
func fresh(dir string) (layout.Path, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("empty %s: %w", dir, err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make %s: %w", filepath.Dir(dir), err)
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", fmt.Errorf("write layout %s: %w", dir, err)
	}
	return path, nil
}

// ParsePlatform reads os/architecture[/variant].
func ParsePlatform(s string) (v1.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return v1.Platform{}, fmt.Errorf("platform %q: want os/architecture[/variant]", s)
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}
