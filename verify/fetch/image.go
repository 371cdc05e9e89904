package fetch

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// platformOf is an index entry's platform; ok is false for entries that are
// no image: attestations (unknown/unknown) and entries without one.
func platformOf(d descriptor) (artifact.Platform, bool) {
	if d.Platform == nil || d.Platform.OS == "" || d.Platform.OS == "unknown" || d.Platform.Architecture == "unknown" {
		return artifact.Platform{}, false
	}
	return artifact.Platform{OS: d.Platform.OS, Architecture: d.Platform.Architecture, Variant: d.Platform.Variant}.Normal(), true
}

// choose picks the first manifest of the index for the platform, as the image
// specification asks ("Image Index Property Descriptions", manifests).
func choose(what string, m manifest, want artifact.Platform) (descriptor, error) {
	var found []string
	for _, d := range m.Manifests {
		p, ok := platformOf(d)
		if !ok || d.otherThanImage() {
			continue
		}
		if p == want && len(d.Platform.OSFeatures) == 0 {
			if isIndex(d.MediaType) {
				return d, refuse(reason.IndexNested, "read "+what, "a manifest for "+want.String(), "another index")
			}
			if !isManifest(d.MediaType) {
				return d, refuse(reason.ManifestMediaType, "read "+what, "an OCI or docker schema 2 manifest", d.MediaType)
			}
			return d, nil
		}
		found = append(found, p.String())
	}
	slices.Sort(found)
	list := strings.Join(slices.Compact(found), ", ")
	err := refuse(reason.PlatformAbsent, "choose a platform in "+what, want.String(), list)
	if len(found) == 0 {
		for _, d := range m.Manifests {
			if isIndex(d.MediaType) {
				return descriptor{}, refuse(reason.IndexNested, "read "+what, "manifests", "another index")
			}
		}
		err.Found = "no platform"
	} else {
		err.Next = "--platform " + found[0]
	}
	return descriptor{}, err
}

// checkImage holds a manifest to be one of an image: a known kind of config,
// and layers that are tar streams within this image.
func checkImage(what string, m manifest) error {
	switch m.Config.MediaType {
	case ocispec.MediaTypeImageConfig, dockerConfig:
	default:
		return refuse(reason.ConfigMediaType, "read "+what, "an image", "a config of type "+m.Config.MediaType)
	}
	if m.Config.Size > maxConfig {
		return refuse(reason.ConfigTooLarge, "read "+what, fmt.Sprintf("a config of at most %d bytes", maxConfig), fmt.Sprint(m.Config.Size))
	}
	for _, l := range m.Layers {
		switch l.MediaType {
		case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
			"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip",
			"application/vnd.docker.image.rootfs.diff.tar.zstd":
		default:
			if strings.Contains(l.MediaType, "nondistributable") || strings.Contains(l.MediaType, "foreign") {
				return refuse(reason.LayerForeign, "read "+what, "layers that the image carries", l.MediaType)
			}
			return refuse(reason.LayerMediaType, "read "+what, "a tar layer, plain, gzip or zstd", fmt.Sprintf("%.100q", l.MediaType))
		}
	}
	return nil
}

// parseConfig reads an image config and holds it against the wanted platform
// and the number of layers.
func parseConfig(what string, raw []byte, want artifact.Platform, layers int) (ocispec.Image, error) {
	var c ocispec.Image
	if err := content.DecodeJSON(what, raw, &c); err != nil {
		return c, err
	}
	got := artifact.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}.Normal()
	if c.Variant == "" {
		got.Variant = want.Variant // older builders leave it out
	}
	if got != want {
		err := refuse(reason.ConfigPlatform, "read "+what, want.String(), got.String())
		if c.OS != "" && c.Architecture != "" {
			err.Next = "--platform " + got.String()
		}
		return c, err
	}
	if c.RootFS.Type != "layers" {
		return c, refuse(reason.ConfigMalformed, "read "+what, "a rootfs of type layers", fmt.Sprintf("%.40q", c.RootFS.Type))
	}
	if len(c.RootFS.DiffIDs) != layers {
		return c, refuse(reason.ConfigDiffIDs, "read "+what, fmt.Sprintf("%d diff IDs, one per layer", layers), fmt.Sprint(len(c.RootFS.DiffIDs)))
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := content.CheckDigest(d); err != nil {
			return c, refuse(reason.DigestUnsupported, "read "+what, "sha256 and 64 hexadecimal digits", fmt.Sprintf("%.100q", string(d)))
		}
	}
	return c, nil
}

// otherThanImage says whether an entry calls itself something else than an
// image. Some tools write an image config's media type as its artifactType.
func (d descriptor) otherThanImage() bool {
	switch d.ArtifactType {
	case "", ocispec.MediaTypeImageConfig, dockerConfig:
		return false
	}
	return true
}
