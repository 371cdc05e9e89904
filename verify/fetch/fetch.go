// Package fetch turns a reference into an Artifact whose bytes lie in the
// store, together with the evidence attached to it. It is the only network
// door of verification.
//
// # Resolution
//
// A reference leads to one manifest of the OCI image format 1.1 or docker's
// schema 2, or to one index of such manifests, from which the wanted platform
// is chosen: the first entry of that platform that asks for no os.features.
// From there only digests count:
//
//	index -> manifest -> config, layers
//
// Every byte is hashed here, whatever the source claimed, and every size is
// capped: index, manifest and config 4 MiB each, 1024 entries in an index,
// 512 layers of at most 64 GiB. Refused are: digests other than sha256;
// manifests with both layers and manifests (CVE-2021-41190), embedded data,
// foreign urls or schema version 1; a media type that differs between
// descriptor, Content-Type and body; an index within an index; a config for
// another platform or with another number of diff IDs than there are layers;
// and JSON that two readers could read in two ways (package content).
//
// # Sources
//
//	registry        the OCI distribution API over HTTPS; plain HTTP on loopback only
//	oci-layout:     a folder with oci-layout, index.json and blobs/
//	oci-archive:    the same in an uncompressed tar file
//	docker-archive: the same if the file has index.json; otherwise manifest.json,
//	                for which an OCI manifest is made up: see docker.go
//	docker-daemon:  a docker-archive read from the daemon's socket
//
// # Store and pull
//
// What was resolved from a registry is recorded in the store: which digest a
// tag led to, and which evidence was found. With Missing, a reference whose
// record, bytes and evidence are there opens no socket. A tag is looked up
// again only with Always; a digest, which cannot lead elsewhere, never. An
// image for which no evidence is recorded, or whose discovery did not
// complete, is looked at again. Layers in the store are not read here: whoever
// reads them (Layer) reads them hashed. A folder or an archive is read each time, but
// for layers that the store has; with Always these too, so that a good result is one
// about the bytes that lie there.
//
// # Evidence
//
// Sigstore bundles attached to the manifest, and to the index if there is one,
// are sought by the OCI 1.1 referrers API, by the fallback tag where a registry
// lacks it or knows of no referrers, among all manifests of a layout, and in
// detached files. Whether a referrer is a bundle is told from the media type of
// its layer, never from an artifactType in a list. A step that did not complete
// is a Problem, never an absence.
//
// What cosign up to version 2 keeps under the tags sha256-HEX.sig and .att of the
// manifest and of the index is always looked for too, whatever the search above
// came to: in a registry, among entries of a layout that have such a name, and
// among those that cosign save marks with the annotation kind. Each layer is an
// Attachment of its own, LegacyTag, with Raw as evidence.Layer encodes it. Of .sbom
// tags, which nobody signed, and of attestations that a builder put into the index,
// only that they are there is told.
//
// # Limits on time and size
//
// Nothing is taken for longer than the caps below allow, and compressed transfers
// are not asked for and not expanded: bytes are hashed and read as they came. The
// other side is given up after Timeout without a byte, an exchange about anything
// but a layer after 4 times that however much trickles in, a layer of which less
// than a mebibyte came in as long, and the search for all evidence about one image
// after 10 times that. Of one subject at most 1000 referrers,
// and of one image at most 32 MiB of evidence are read.
//
// # Not checked here
//
// Who signed what, whether the uncompressed layers are those that the config
// names, and whether anything may run.
package fetch

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// MaxEvidence caps all evidence that one image has, and one file of evidence, in bytes.
const MaxEvidence = 32 << 20

// Caps on what others send.
const (
	maxManifest  = 4 << 20  // bytes of an index, a manifest or a list of referrers
	maxConfig    = 4 << 20  // bytes of an image config
	maxManifests = 1024     // entries of an index
	maxLayers    = 512      // layers of an image
	maxLayer     = 64 << 30 // bytes of a layer
	maxReferrers = 1000     // referrers of one subject
	maxScan      = 10000    // blobs of a layout that are searched for referrers
)

// Limits on how long others may take, from the time without a byte that they are
// given (Options.Timeout).
func briefLimit(idle time.Duration) time.Duration  { return 4 * idle }  // one exchange about anything but a layer; of a layer, a stretch with enough
func searchLimit(idle time.Duration) time.Duration { return 10 * idle } // the search for all evidence about one image

// Pull says when a registry is asked.
type Pull uint8

// The words of docker's --pull.
const (
	Missing Pull = iota // when the store lacks something
	Always              // for every tag and all evidence; a folder or archive is read for every layer
	Never               // not at all
)

// ParsePull reads missing, always or never.
func ParsePull(s string) (Pull, bool) {
	for p, word := range [...]string{"missing", "always", "never"} {
		if s == word {
			return Pull(p), true
		}
	}
	return 0, false
}

// Options says where to put things and how to reach registries. Store is
// required; the zero value of everything else is usable.
type Options struct {
	Store     *content.Store
	Platform  artifact.Platform // zero: Linux on the processor this program was built for
	Pull      Pull
	AuthFiles []string                              // docker and podman credential files; the first that knows a registry counts; absent ones are skipped
	CAFile    string                                // PEM certificates trusted besides the system's
	Mirrors   map[string]string                     // registry or registry/path -> what is asked in its place, e.g. docker.io -> mirror.example/hub
	Proxy     func(*http.Request) (*url.URL, error) // nil: none. Not asked about loopback.
	UserAgent string
	Evidence  []string                                                          // detached files: Sigstore bundles, one per file or one per line
	Socket    string                                                            // of the docker daemon; empty: /var/run/docker.sock
	Timeout   time.Duration                                                     // without a byte from the other side; zero: 30 s
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error) // nil: the net package's
	Progress  func(Event)                                                       // called from one goroutine at a time
	Now       time.Time                                                         // written by Attach as the time of creation; zero: not written
}

// Event is one step of a layer's transfer. A layer that was in the store
// already has one event, with Cached set.
type Event struct {
	Digest      digest.Digest
	Done, Total int64 // bytes
	Cached      bool
}

// Where says where evidence was found.
type Where string

// The places.
const (
	ReferrersAPI Where = "referrers-api" // the OCI 1.1 referrers API
	ReferrersTag Where = "referrers-tag" // the tag sha256-HEX that stands in for it
	Layout       Where = "oci-layout"    // a manifest with a subject in a layout or archive
	InIndex      Where = "index"         // an attestation manifest listed in the image's own index; unsigned
	LegacyTag    Where = "legacy-tag"    // cosign's sha256-HEX.sig, .att, .sbom, or their form in a layout
	File         Where = "file"          // a detached file named by the caller
	Stored       Where = "store"         // recorded with Keep, not found by a search
)

// Attachment is something attached to the artifact; nothing about it is
// proved. Raw is the Sigstore bundle, re-hashed, or a layer of cosign's older
// tags (see Legacy); it is nil for everything else.
type Attachment struct {
	Where        Where         `json:"where"`
	From         string        `json:"from"`    // a reference or a path
	Subject      digest.Digest `json:"subject"` // what it is attached to; empty for a file
	Digest       digest.Digest `json:"digest"`  // of Raw; if that is nil, of the manifest, if known
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType"`
	Raw          []byte        `json:"-"`
}

// Problem is a step of the search for evidence that did not complete.
type Problem struct {
	Where Where
	Err   *reason.Error
}

// Result is what Resolve returns.
type Result struct {
	Artifact    artifact.Artifact
	Root        ocispec.Descriptor // what the reference led to: the index, or the manifest
	Manifest    ocispec.Descriptor // what runs
	Attachments []Attachment
	Problems    []Problem
	Local       bool // no socket was opened
}

// Resolve fetches what ref leads to into the store, hashed, with the evidence
// attached to it. Errors carry the codes of verify/reason/fetch.go, and the
// json- and store- codes of package content.
func Resolve(ctx context.Context, ref artifact.Reference, o Options) (Result, error) {
	s, err := o.start(ctx, ref)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	img, err := s.image(ctx)
	if err != nil {
		return Result{}, err
	}
	res, err := s.about(ctx, img)
	if err != nil {
		return Result{}, err
	}
	missing, err := s.absent(img.Layers)
	if err != nil {
		return Result{}, err
	}
	if err := s.layers(ctx, missing); err != nil {
		return Result{}, err
	}
	if res.Artifact, err = artifact.Pin(img.Pinned); err != nil {
		return Result{}, err
	}
	if err := s.record(res); err != nil {
		return Result{}, err
	}
	res.Local = s.local()
	return res, nil
}

// Discover does what Resolve does short of the layers: it reads index,
// manifest and config and looks for evidence. The Result has no Artifact.
func Discover(ctx context.Context, ref artifact.Reference, o Options) (Result, error) {
	s, err := o.start(ctx, ref)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	res, _, err := s.inspect(ctx)
	res.Local = s.local()
	return res, err
}

func (o Options) normal() Options {
	if o.Platform.Zero() {
		o.Platform = artifact.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	o.Platform = o.Platform.Normal()
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: o.Timeout}).DialContext
	}
	if o.Socket == "" {
		o.Socket = "/var/run/docker.sock"
	}
	if o.UserAgent == "" {
		o.UserAgent = "ztlaunch"
	}
	return o
}
