package artifact

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Layer is one layer of an image: the stored blob and the tar stream in it.
type Layer struct {
	Digest    digest.Digest // of the blob as distributed, mostly compressed
	DiffID    digest.Digest // of the uncompressed tar stream
	MediaType string
	Size      int64 // of the blob, in bytes
}

// Pinned is what Pin takes: every digest of one artifact.
type Pinned struct {
	Ref          Reference
	Index        digest.Digest // the index that was resolved, empty if there was none
	Manifest     digest.Digest // what runs; for a model, its manifest of files
	Platform     Platform
	Config       ocispec.Image
	ConfigDigest digest.Digest
	Layers       []Layer // in the manifest's order, base first
	Size         int64   // bytes of all blobs
}

// Artifact is a thing pinned by digest, whose bytes are in the store and were
// hashed by us. Tags are over: nothing in it is looked up by name again. The
// zero Artifact is refused everywhere.
type Artifact struct{ p Pinned }

// Pin makes an Artifact; only the packages that have just hashed its bytes
// call it. It refuses, with the code artifact-incomplete, a zero reference, a
// digest that is not sha256, and an image without platform, configuration, or
// one DiffID per layer.
func Pin(p Pinned) (Artifact, error) {
	bad := func(expected string) (Artifact, error) {
		return Artifact{}, &reason.Error{Code: reason.ArtifactIncomplete, What: "pin " + p.Ref.String(), Expected: expected}
	}
	if p.Ref.Zero() {
		return bad("a reference")
	}
	if _, err := parseDigest(string(p.Manifest)); err != nil {
		return bad("a sha256 manifest digest")
	}
	if _, err := parseDigest(string(p.Index)); err != nil && p.Index != "" {
		return bad("a sha256 index digest")
	}
	switch p.Ref.kind {
	case Model:
	case MCP, Image:
		if p.Ref.kind == MCP && p.ConfigDigest == "" {
			break // a closure of packages has no image configuration
		}
		if _, err := parseDigest(string(p.ConfigDigest)); err != nil {
			return bad("a sha256 config digest")
		}
		if p.Platform.Zero() || p.Platform != p.Platform.Normal() {
			return bad("a normal platform")
		}
		if len(p.Layers) != len(p.Config.RootFS.DiffIDs) {
			return bad("one diff ID per layer")
		}
		for i, l := range p.Layers {
			if _, err := parseDigest(string(l.Digest)); err != nil || l.Size < 0 {
				return bad("a sha256 digest and a size for each layer")
			}
			if _, err := parseDigest(string(l.DiffID)); err != nil || l.DiffID != p.Config.RootFS.DiffIDs[i] {
				return bad("the configuration's diff ID for each layer")
			}
		}
	default:
		return bad("a kind")
	}
	p.Layers = slices.Clone(p.Layers)
	p.Config = cloneConfig(p.Config)
	return Artifact{p}, nil
}

// Zero reports whether the artifact was made by anything but Pin.
func (a Artifact) Zero() bool { return a.p.Ref.Zero() }

// Ref is the reference that was resolved.
func (a Artifact) Ref() Reference { return a.p.Ref }

// Kind is the reference's kind.
func (a Artifact) Kind() Kind { return a.p.Ref.kind }

// Index is the digest of the index through which the manifest was resolved,
// empty if there was none.
func (a Artifact) Index() digest.Digest { return a.p.Index }

// Digest is the digest of the manifest that runs.
func (a Artifact) Digest() digest.Digest { return a.p.Manifest }

// Platform is what the image is for; zero for a model.
func (a Artifact) Platform() Platform { return a.p.Platform }

// Config is a copy of the image configuration.
func (a Artifact) Config() ocispec.Image { return cloneConfig(a.p.Config) }

// ConfigDigest is the digest of the image configuration's bytes.
func (a Artifact) ConfigDigest() digest.Digest { return a.p.ConfigDigest }

// Layers is a copy of the layers, base first.
func (a Artifact) Layers() []Layer { return slices.Clone(a.p.Layers) }

// Size is the number of bytes of all blobs.
func (a Artifact) Size() int64 { return a.p.Size }

// Subjects are the digests that a signature about this artifact may name: the
// manifest that runs and, when it was resolved through one, the index.
func (a Artifact) Subjects() []digest.Digest {
	if a.Zero() {
		return nil
	}
	if a.p.Index == "" {
		return []digest.Digest{a.p.Manifest}
	}
	return []digest.Digest{a.p.Manifest, a.p.Index}
}

func cloneConfig(c ocispec.Image) ocispec.Image {
	c.OSFeatures = slices.Clone(c.OSFeatures)
	c.Config.ExposedPorts = maps.Clone(c.Config.ExposedPorts)
	c.Config.Env = slices.Clone(c.Config.Env)
	c.Config.Entrypoint = slices.Clone(c.Config.Entrypoint)
	c.Config.Cmd = slices.Clone(c.Config.Cmd)
	c.Config.Volumes = maps.Clone(c.Config.Volumes)
	c.Config.Labels = maps.Clone(c.Config.Labels)
	c.RootFS.DiffIDs = slices.Clone(c.RootFS.DiffIDs)
	c.History = slices.Clone(c.History)
	return c
}
