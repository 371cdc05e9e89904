package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Blob is one file under a layout's blobs folder, and what it is to the image.
type Blob struct {
	Role   string // index, manifest, config, layer0, layer1, ...; with several platforms os-arch/ before it
	Digest v1.Hash
	Size   int64
	Path   string
}

// Blobs lists what index.json reaches, depth first, each digest once.
func Blobs(dir string) ([]Blob, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	var top v1.IndexManifest
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("read layout %s: %w", dir, err)
	}
	seen := map[v1.Hash]bool{}
	var blobs []Blob
	add := func(role string, d v1.Descriptor) string {
		p := filepath.Join(dir, "blobs", d.Digest.Algorithm, d.Digest.Hex)
		if !seen[d.Digest] {
			seen[d.Digest] = true
			blobs = append(blobs, Blob{Role: role, Digest: d.Digest, Size: d.Size, Path: p})
		}
		return p
	}
	var walk func(prefix string, list []v1.Descriptor) error
	walk = func(prefix string, list []v1.Descriptor) error {
		for _, d := range list {
			at := prefix
			if len(list) > 1 && d.Platform != nil {
				at += d.Platform.OS + "-" + d.Platform.Architecture + "/"
			}
			role := "manifest"
			if d.MediaType == types.OCIImageIndex {
				role = "index"
			}
			raw, err := os.ReadFile(add(at+role, d))
			if err != nil {
				return fmt.Errorf("read %s: %w", at+role, err)
			}
			if role == "index" {
				var index v1.IndexManifest
				if err := json.Unmarshal(raw, &index); err != nil {
					return fmt.Errorf("read %s: %w", at+role, err)
				}
				if err := walk(at, index.Manifests); err != nil {
					return err
				}
				continue
			}
			var m v1.Manifest
			if err := json.Unmarshal(raw, &m); err != nil {
				return fmt.Errorf("read %s: %w", at+role, err)
			}
			add(at+"config", m.Config)
			for i, l := range m.Layers {
				add(fmt.Sprintf("%slayer%d", at, i), l)
			}
		}
		return nil
	}
	return blobs, walk("", top.Manifests)
}

// How names a kind of damage.
type How string

// What Corrupt can do to a file.
const (
	Flip     How = "flip"     // one bit of the middle byte
	Truncate How = "truncate" // the last byte is gone
	Extend   How = "extend"   // one zero byte more
	Remove   How = "remove"   // the blob is gone
)

// Corrupt damages a file in place; a blob keeps its name, so it lies about its digest.
func Corrupt(file string, how How) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("corrupt: %w", err)
	}
	if len(raw) == 0 && how != Extend && how != Remove {
		return fmt.Errorf("corrupt %s: empty file", file)
	}
	switch how {
	case Flip:
		raw[len(raw)/2] ^= 1
	case Truncate:
		raw = raw[:len(raw)-1]
	case Extend:
		raw = append(raw, 0)
	case Remove:
		return os.Remove(file)
	default:
		return fmt.Errorf("corrupt %s: unknown damage %q", file, how)
	}
	// Blobs may be shared by hard link with another layout, or read-only: replace the name.
	temp := file + ".corrupt"
	if err := os.WriteFile(temp, raw, 0o644); err != nil {
		return fmt.Errorf("corrupt: %w", err)
	}
	return os.Rename(temp, file)
}
