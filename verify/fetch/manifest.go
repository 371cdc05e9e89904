package fetch

import (
	"encoding/json"
	"fmt"
	"mime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Media types that the image specification's Go package does not name.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
)

// descriptor is an OCI descriptor as found; it is no ocispec.Descriptor
// because data must be seen before it is decoded.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       digest.Digest     `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls"`
	Data         json.RawMessage   `json:"data"`
	Annotations  map[string]string `json:"annotations"`
	Platform     *ocispec.Platform `json:"platform"`
	ArtifactType string            `json:"artifactType"`
}

func (d descriptor) oci() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// manifest is an index or a manifest; which of the two, kind() has decided.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Manifests     []descriptor      `json:"manifests"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
	FSLayers      json.RawMessage   `json:"fsLayers"`
}

func (m manifest) index() bool { return isIndex(m.MediaType) }

func isIndex(t string) bool    { return t == ocispec.MediaTypeImageIndex || t == dockerIndex }
func isManifest(t string) bool { return t == ocispec.MediaTypeImageManifest || t == dockerManifest }

// parseManifest reads an index or a manifest strictly. declared is the media
// type that a descriptor or a Content-Type gave, empty if nothing did. The
// result's MediaType is never empty.
func parseManifest(what string, raw []byte, declared string) (manifest, error) {
	var m manifest
	if t, _, err := mime.ParseMediaType(declared); err == nil {
		declared = t
	}
	if declared == dockerSchema1 || declared == dockerSigned1 {
		return m, refuse(reason.ManifestSchema1, "read "+what, "an OCI or docker schema 2 manifest", declared)
	}
	if err := content.DecodeJSON(what, raw, &m); err != nil {
		return m, err
	}
	switch {
	case m.SchemaVersion == 1 || m.FSLayers != nil:
		return m, refuse(reason.ManifestSchema1, "read "+what, "schema version 2", "schema version 1")
	case m.SchemaVersion != 2:
		return m, refuse(reason.ManifestMalformed, "read "+what, "schema version 2", fmt.Sprintf("schema version %d", m.SchemaVersion))
	case m.Manifests != nil && (m.Layers != nil || m.Config != nil):
		return m, refuse(reason.ManifestConfused, "read "+what, "an index or a manifest", "both at once")
	}
	if err := m.settle(what, declared); err != nil {
		return m, err
	}
	if m.index() {
		if m.Manifests == nil {
			return m, refuse(reason.ManifestMalformed, "read "+what, "manifests", "none")
		}
		if len(m.Manifests) > maxManifests {
			return m, refuse(reason.IndexTooMany, "read "+what, fmt.Sprintf("at most %d manifests", maxManifests), fmt.Sprint(len(m.Manifests)))
		}
	} else {
		if m.Config == nil || m.Manifests != nil {
			return m, refuse(reason.ManifestMalformed, "read "+what, "a config", "none")
		}
		if len(m.Layers) > maxLayers {
			return m, refuse(reason.LayersTooMany, "read "+what, fmt.Sprintf("at most %d layers", maxLayers), fmt.Sprint(len(m.Layers)))
		}
	}
	return m, m.descriptors(what)
}

// settle agrees on one media type between what was declared, what the body
// says and, only if neither says anything, what the body looks like.
func (m *manifest) settle(what, declared string) error {
	switch {
	case m.MediaType == "" && declared == "":
		m.MediaType = ocispec.MediaTypeImageManifest
		if m.Manifests != nil {
			m.MediaType = ocispec.MediaTypeImageIndex
		}
	case m.MediaType == "":
		m.MediaType = declared
	case declared != "" && m.MediaType != declared:
		return refuse(reason.ManifestMediaType, "read "+what, declared, m.MediaType)
	}
	if !isIndex(m.MediaType) && !isManifest(m.MediaType) {
		return refuse(reason.ManifestMediaType, "read "+what, "an OCI or docker schema 2 manifest or index", m.MediaType)
	}
	return nil
}

func (m manifest) descriptors(what string) error {
	for _, d := range m.Manifests {
		if err := d.check(what); err != nil {
			return err
		}
	}
	for _, d := range m.Layers {
		if err := d.check(what); err != nil {
			return err
		}
	}
	if m.Config != nil {
		if err := m.Config.check(what); err != nil {
			return err
		}
	}
	if m.Subject != nil {
		if err := m.Subject.check(what); err != nil {
			return err
		}
	}
	return nil
}

func (d descriptor) check(what string) error {
	what = "read " + what
	if err := content.CheckDigest(d.Digest); err != nil {
		return refuse(reason.DigestUnsupported, what, "sha256 and 64 hexadecimal digits", fmt.Sprintf("%.100q", string(d.Digest)))
	}
	if d.Size < 0 || d.Size > maxLayer {
		return refuse(reason.DescriptorSize, what, fmt.Sprintf("0 to %d bytes", int64(maxLayer)), fmt.Sprint(d.Size))
	}
	if len(d.URLs) > 0 {
		return refuse(reason.DescriptorURLs, what, "content of this image", fmt.Sprintf("%s at %.100q", d.Digest, d.URLs[0]))
	}
	if len(d.Data) > 0 && string(d.Data) != "null" {
		var data []byte
		if json.Unmarshal(d.Data, &data) != nil || d.MediaType != ocispec.MediaTypeEmptyJSON || digest.FromBytes(data) != d.Digest {
			return refuse(reason.DescriptorData, what, "content by digest", "content embedded for "+string(d.Digest))
		}
		// The two bytes of the empty object, as some tools embed them in a
		// referrer: right, and not used.
	}
	return nil
}

func refuse(code reason.Code, what, expected, found string) *reason.Error {
	return &reason.Error{Code: code, What: what, Expected: expected, Found: found}
}
