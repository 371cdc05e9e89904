package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The largest index, manifest or config that is read, and how deep indexes nest.
const (
	maxJSON  = 16 << 20
	maxDepth = 4
)

// blobs is the blobs folder of a layout. Every read is held against the digest.
type blobs string

func (b blobs) path(d v1.Hash) string { return filepath.Join(string(b), d.Algorithm, d.Hex) }

func (b blobs) read(d v1.Hash) ([]byte, error) {
	f, err := os.Open(b.path(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d, err)
	}
	if len(raw) > maxJSON {
		return nil, fmt.Errorf("read %s: larger than %d bytes", d, maxJSON)
	}
	if got := sha256.Sum256(raw); hex.EncodeToString(got[:]) != d.Hex {
		return nil, fmt.Errorf("read %s: digest mismatch (found sha256:%x)", d, got)
	}
	return raw, nil
}

// verify hashes a layer as it lies there.
func (b blobs) verify(d v1.Descriptor) error {
	f, err := os.Open(b.path(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return fmt.Errorf("read %s: %w", d.Digest, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.Digest.Hex || n != d.Size {
		return fmt.Errorf("read %s: digest mismatch (expected %d bytes, found %d of sha256:%s)", d.Digest, d.Size, n, got)
	}
	return nil
}

// selectImage finds an image in a layout: the digest's, which may be an index's, or
// what index.json lists. Among several images the platform decides, and one must fit.
func selectImage(dir string, digest v1.Hash, platform string) (v1.Image, error) {
	b := blobs(filepath.Join(dir, "blobs"))
	top := v1.Descriptor{Digest: digest}
	if digest == (v1.Hash{}) {
		raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
		if err != nil {
			return nil, err
		}
		found, err := b.images(raw, 0)
		if err != nil {
			return nil, fmt.Errorf("read layout %s: %w", dir, err)
		}
		return b.choose(found, platform)
	}
	found, err := b.descend(top, 0)
	if err != nil {
		return nil, err
	}
	return b.choose(found, platform)
}

// candidate is an image manifest that the layout reaches.
type candidate struct {
	digest v1.Hash
	raw    []byte
	config v1.ConfigFile
}

// descend reads a manifest or an index, whichever its own media type says it is.
func (b blobs) descend(d v1.Descriptor, depth int) ([]candidate, error) {
	raw, err := b.read(d.Digest)
	if err != nil {
		return nil, err
	}
	var probe struct {
		MediaType types.MediaType   `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
		Config    v1.Descriptor     `json:"config"`
	}
	if err := json.Unmarshal(raw, &probe); err != nil {
		return nil, fmt.Errorf("read %s: %w", d.Digest, err)
	}
	if probe.MediaType.IsIndex() || probe.Manifests != nil {
		return b.images(raw, depth+1)
	}
	if !probe.Config.MediaType.IsConfig() {
		return nil, nil // an artifact, not an image
	}
	c := candidate{digest: d.Digest, raw: raw}
	config, err := b.read(probe.Config.Digest)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(config, &c.config); err != nil {
		return nil, fmt.Errorf("read %s: %w", probe.Config.Digest, err)
	}
	return []candidate{c}, nil
}

// images lists the image manifests under an index, each once. What is there to attest
// (a subject's referrers, buildx's attestation manifests) is not an image to run.
func (b blobs) images(raw []byte, depth int) ([]candidate, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("index nested deeper than %d", maxDepth)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, err
	}
	seen := map[v1.Hash]bool{}
	var all []candidate
	for _, d := range index.Manifests {
		// go-containerregistry gives an image its config's type for an artifact type.
		artifact := d.ArtifactType != "" && !types.MediaType(d.ArtifactType).IsConfig()
		if artifact || d.Annotations["vnd.docker.reference.type"] != "" || !d.MediaType.IsIndex() && !d.MediaType.IsImage() {
			continue
		}
		if _, err := os.Stat(b.path(d.Digest)); os.IsNotExist(err) && depth > 0 {
			continue // a platform that this layout does not carry
		}
		found, err := b.descend(d, depth)
		if err != nil {
			return nil, err
		}
		for _, c := range found {
			if !seen[c.digest] {
				seen[c.digest] = true
				all = append(all, c)
			}
		}
	}
	return all, nil
}

func (b blobs) choose(found []candidate, platform string) (v1.Image, error) {
	var fit []candidate
	for _, c := range found {
		p := c.config.OS + "/" + c.config.Architecture
		if platform == "" || platform == p || platform == p+"/"+c.config.Variant {
			fit = append(fit, c)
		}
	}
	switch {
	case len(fit) == 1:
		return b.image(fit[0])
	case len(found) == 0:
		return nil, fmt.Errorf("no image found")
	case len(fit) == 0:
		return nil, fmt.Errorf("no image for platform %s among %d", platform, len(found))
	}
	return nil, fmt.Errorf("%d images fit: name one with @DIGEST or --platform", len(fit))
}

// image makes an image of a manifest whose blobs lie here.
func (b blobs) image(c candidate) (v1.Image, error) {
	manifest, err := v1.ParseManifest(bytes.NewReader(c.raw))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.digest, err)
	}
	config, err := b.read(manifest.Config.Digest)
	if err != nil {
		return nil, err
	}
	for _, l := range manifest.Layers {
		if err := b.verify(l); err != nil {
			return nil, err
		}
	}
	return partial.CompressedToImage(layoutImage{b, c.raw, config, manifest})
}

// layoutImage is what partial needs to know of an image.
type layoutImage struct {
	blobs
	raw, config []byte
	manifest    *v1.Manifest
}

func (i layoutImage) RawConfigFile() ([]byte, error) { return i.config, nil }
func (i layoutImage) RawManifest() ([]byte, error)   { return i.raw, nil }
func (i layoutImage) MediaType() (types.MediaType, error) {
	if i.manifest.MediaType == "" {
		return types.OCIManifestSchema1, nil
	}
	return i.manifest.MediaType, nil
}

func (i layoutImage) LayerByDigest(d v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range i.manifest.Layers {
		if l.Digest == d {
			return layoutLayer{i.blobs, l}, nil
		}
	}
	return nil, fmt.Errorf("no layer %s", d)
}

type layoutLayer struct {
	blobs
	v1.Descriptor
}

func (l layoutLayer) Digest() (v1.Hash, error)            { return l.Descriptor.Digest, nil }
func (l layoutLayer) Size() (int64, error)                { return l.Descriptor.Size, nil }
func (l layoutLayer) MediaType() (types.MediaType, error) { return l.Descriptor.MediaType, nil }
func (l layoutLayer) Compressed() (io.ReadCloser, error)  { return os.Open(l.path(l.Descriptor.Digest)) }

// verifyLayers hashes each layer uncompressed, against the config's list: what the
// catalogers read is then what the config names.
func verifyLayers(img v1.Image) error {
	config, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("read layers: %w", err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return fmt.Errorf("%d layers, and the config lists %d", len(layers), len(config.RootFS.DiffIDs))
	}
	for i, l := range layers {
		want := config.RootFS.DiffIDs[i]
		got, err := hashLayer(l)
		if err != nil {
			return fmt.Errorf("read layer %d: %w", i, err)
		}
		if got != want {
			return fmt.Errorf("read layer %d: digest mismatch (expected %s uncompressed, found %s)", i, want, got)
		}
	}
	return nil
}

func hashLayer(l v1.Layer) (v1.Hash, error) {
	in, err := l.Uncompressed()
	if err != nil {
		return v1.Hash{}, err
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return v1.Hash{}, err
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}, nil
}
