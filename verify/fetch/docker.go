package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// savedImage is an entry of manifest.json in what `docker save` writes.
type savedImage struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// saved is an image in a docker archive without index.json. Such an archive
// has no manifest, so one is made up, the same one for the same content: the
// JSON, with the fields in the order of the OCI image specification's Go types
// and no white space, of
//
//	{"schemaVersion":2,"mediaType":OCI manifest,"config":{...},"layers":[...]}
//
// with the media types of OCI, and of each layer the bytes that the archive
// holds (mostly an uncompressed tar, whose digest is the diff ID). No signature
// can name this digest but one that was made for the archive.
type saved struct {
	ref      artifact.Reference
	tar      *tarFile
	manifest []byte
	config   []byte
	layers   map[digest.Digest]string // the entry that holds it
}

// archive opens an OCI or docker archive.
func (o Options) archive(ref artifact.Reference, docker bool) (origin, error) {
	f, _, err := openFile(ref.Path())
	if err != nil {
		return nil, &reason.Error{Code: reason.LayoutUnreadable, What: "read " + ref.String(), Err: err}
	}
	t, err := openTar(ref.String(), f)
	if err != nil {
		return nil, err
	}
	if docker {
		return dockerArchive(ref, t)
	}
	return asOrigin(openLayout(ref, t))
}

func asOrigin[T origin](o T, err error) (origin, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

func dockerArchive(ref artifact.Reference, t *tarFile) (origin, error) {
	if _, err := t.section("index.json"); err == nil {
		return asOrigin(openLayout(ref, t))
	}
	s := &saved{ref: ref, tar: t, layers: map[digest.Digest]string{}}
	if err := s.read(); err != nil {
		t.close()
		return nil, err
	}
	return s, nil
}

func (s *saved) name() string { return string(s.ref.Scheme()) + ":" + s.ref.Path() }

func (s *saved) file(name string, max int64) ([]byte, error) {
	in, err := s.tar.section(path.Clean(name))
	if err == nil && in.Size() > max {
		err = errTooLarge
	}
	var raw []byte
	if err == nil {
		raw, err = io.ReadAll(in)
	}
	if err != nil {
		return nil, &reason.Error{Code: reason.ArchiveMalformed, What: fmt.Sprintf("read %.200q of %s", name, s.name()), Err: err}
	}
	return raw, nil
}

func (s *saved) read() error {
	raw, err := s.file("manifest.json", maxManifest)
	if err != nil {
		return err
	}
	var all []savedImage
	if err := content.DecodeJSON("manifest.json of "+s.name(), raw, &all); err != nil {
		return err
	}
	img, err := s.choose(all)
	if err != nil {
		return err
	}
	if s.config, err = s.file(img.Config, maxConfig); err != nil {
		return err
	}
	d := digest.FromBytes(s.config)
	// The file's name is the image's ID; hold it to that.
	id := strings.TrimPrefix(strings.TrimSuffix(path.Base(img.Config), ".json"), "sha256:")
	if want := digest.Digest("sha256:" + id); content.CheckDigest(want) == nil && want != d {
		return refuse(reason.MismatchConfig, "read config of "+s.name(), string(want), string(d))
	}
	var config ocispec.Image
	if err := content.DecodeJSON("config "+string(d), s.config, &config); err != nil {
		return err
	}
	if len(config.RootFS.DiffIDs) != len(img.Layers) || len(img.Layers) > maxLayers {
		return refuse(reason.ConfigDiffIDs, "read config "+string(d), fmt.Sprintf("%d diff IDs, one per layer", len(img.Layers)), fmt.Sprint(len(config.RootFS.DiffIDs)))
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: d, Size: int64(len(s.config))}, Layers: []ocispec.Descriptor{}}
	for i, name := range img.Layers {
		l, err := s.layer(path.Clean(name), config.RootFS.DiffIDs[i])
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, l)
	}
	s.manifest, err = json.Marshal(m)
	return err
}

func (s *saved) choose(all []savedImage) (savedImage, error) {
	var fit []savedImage
	var tags []string
	for _, img := range all {
		tags = append(tags, img.RepoTags...)
		if s.ref.Tag() == "" || s.ref.Scheme() == artifact.DockerDaemon ||
			slices.ContainsFunc(img.RepoTags, func(t string) bool { return strings.HasSuffix(t, ":"+s.ref.Tag()) }) {
			fit = append(fit, img)
		}
	}
	what := "resolve " + s.ref.String()
	list := printable([]byte(strings.Join(tags[:min(len(tags), 10)], ", ")))
	switch len(fit) {
	case 0:
		return savedImage{}, refuse(reason.ImageAbsent, what, "an image", "none by that tag among "+list)
	case 1:
		return fit[0], nil
	}
	return savedImage{}, refuse(reason.ReferenceAmbiguous, what, "one image", list)
}

// layer describes a layer as the archive holds it. An uncompressed one must
// have the diff ID as its digest, which is checked when it is read.
func (s *saved) layer(name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	in, err := s.tar.section(name)
	if err != nil {
		return ocispec.Descriptor{}, &reason.Error{Code: reason.ArchiveMalformed, What: fmt.Sprintf("read %.200q of %s", name, s.name()), Err: err}
	}
	magic := make([]byte, 6)
	n, _ := in.ReadAt(magic, 0)
	l := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: in.Size()}
	switch compression(magic[:n]) {
	case "":
		if err := content.CheckDigest(diffID); err != nil {
			return l, refuse(reason.DigestUnsupported, "read config of "+s.name(), "sha256 and 64 hexadecimal digits", fmt.Sprintf("%.100q", string(diffID)))
		}
	case "gzip":
		l.MediaType = ocispec.MediaTypeImageLayerGzip
	case "zstd":
		l.MediaType = ocispec.MediaTypeImageLayerZstd
	default:
		return l, refuse(reason.LayerMediaType, "read "+name+" of "+s.name(), "a tar layer, plain, gzip or zstd", compression(magic[:n]))
	}
	if l.MediaType != ocispec.MediaTypeImageLayer {
		if l.Digest, err = digest.FromReader(in); err != nil {
			return l, &reason.Error{Code: reason.LayoutUnreadable, What: "read " + name + " of " + s.name(), Err: err}
		}
	}
	s.layers[l.Digest] = name
	return l, nil
}

func (s *saved) root(context.Context) (stream, error) {
	d := digest.FromBytes(s.manifest)
	if want := s.ref.Digest(); want != "" && want != d {
		return stream{}, refuse(reason.ImageAbsent, "resolve "+s.ref.String(), string(want), string(d))
	}
	return stream{io.NopCloser(bytes.NewReader(s.manifest)), ocispec.MediaTypeImageManifest, d, int64(len(s.manifest))}, nil
}

func (s *saved) open(_ context.Context, d descriptor, p part) (stream, error) {
	if p == configPart {
		return stream{io.NopCloser(bytes.NewReader(s.config)), "", d.Digest, d.Size}, nil
	}
	in, err := s.tar.section(s.layers[d.Digest])
	if err != nil {
		return stream{}, &reason.Error{Code: reason.ContentAbsent, What: "read " + p.what(d.Digest) + " from " + s.name(), Err: err}
	}
	return stream{io.NopCloser(in), d.MediaType, d.Digest, d.Size}, nil
}

// referrers is empty: nothing can be attached in this format.
func (s *saved) referrers(context.Context, digest.Digest) ([]referrer, []Problem) { return nil, nil }

func (s *saved) place(digest.Digest) string { return s.name() }

func (s *saved) close() { s.tar.close() }
