// Package artifact says what a thing to be verified is called, what kind of
// thing it is, and, once it has been fetched, by which digests it is pinned.
//
// # References
//
// A reference is an image name unless it has a scheme, and a scheme counts
// only before "./", "../", "/", "@" or a drive (C:\ or C:/), so that `model:latest` stays an image:
//
//	[REGISTRY[:PORT]/]PATH[:TAG][@sha256:HEX]      image in a registry
//	oci-layout:DIR[:TAG|@sha256:HEX]               OCI image layout
//	oci-archive:FILE[:TAG|@sha256:HEX]             the same inside a tar file
//	docker-archive:FILE[:TAG|@sha256:HEX]          what `docker save` writes
//	docker-daemon:NAME[:TAG]                       the image store of a docker daemon
//	model:DIR  mcp:FILE  npm:FILE  receipt:FILE    see the packages that read them
//
// docker-daemon takes a name and no path, so that scheme always counts. A
// colon after the last slash of a path starts a tag when what follows is a
// well-formed one; write a trailing /. to keep a colon in a folder's name.
//
// Image names follow the grammar of the OCI distribution specification
// (section "Pulling manifests") and docker's normalisation: a first component
// without a dot or a colon, other than localhost, is a path on docker.io (one
// with capitals is refused, where docker takes it for a host); a single component there gets library/ in front; index.docker.io
// is docker.io; neither tag nor digest means the tag latest. Digests are
// sha256 in 64 lower-case hexadecimal digits, nothing else.
//
// # Not checked here
//
// That anything by that name exists, or that a file is what its scheme says.
package artifact

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Kind says by whose rules an artifact is judged. The zero Kind is invalid:
// the default of every switch on Kind is an error.
type Kind uint8

// The kinds.
const (
	Image Kind = iota + 1 // an agent's image
	Model                 // a signed folder of model files
	MCP                   // a tool server: an image, or a closure of packages
)

// String is the word that reports and lock files use.
func (k Kind) String() string {
	switch k {
	case Image:
		return "image"
	case Model:
		return "model"
	case MCP:
		return "mcp"
	}
	return "invalid"
}

// Scheme says where a reference points: the word before the colon. It is
// Registry, the empty word, for an image name.
type Scheme string

// The schemes.
const (
	Registry      Scheme = ""
	OCILayout     Scheme = "oci-layout"
	OCIArchive    Scheme = "oci-archive"
	DockerArchive Scheme = "docker-archive"
	DockerDaemon  Scheme = "docker-daemon"
	ModelDir      Scheme = "model"
	MCPFile       Scheme = "mcp"
	NPM           Scheme = "npm"
	Receipt       Scheme = "receipt"
)

// Local reports whether s names a path on this machine.
func (s Scheme) Local() bool {
	_, ok := kindOf(s)
	return ok
}

// maxReference bounds the text of a reference, in bytes.
const maxReference = 4096

// Reference is a well-formed name; nothing about it is true yet. The zero
// Reference is refused everywhere. References compare with ==.
type Reference struct {
	kind     Kind
	scheme   Scheme
	registry string // docker.io, registry.example:5000
	path     string // library/alpine
	name     string // what policy matches, for references that are not registry names
	tag      string
	digest   digest.Digest
	file     string // DIR or FILE of a local scheme
}

// Parse reads a reference as the package comment defines it. An error has the
// code reference-invalid. The kind is Model for model:, MCP for mcp: and npm:,
// Image for all that can hold an image, and the invalid zero for receipt:,
// which is about artifacts and is none.
func Parse(s string) (Reference, error) {
	if len(s) > maxReference {
		return Reference{}, invalid(s[:64]+"...", "at most 4096 bytes", "")
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == '\uFFFD' {
			return Reference{}, invalid(s, "no control characters", "")
		}
	}
	if word, rest, ok := strings.Cut(s, ":"); ok {
		if word == string(DockerDaemon) {
			return parseDaemon(s, rest)
		}
		if kind, ok := kindOf(Scheme(word)); ok && isPath(rest) {
			return parseLocal(s, Scheme(word), kind, rest)
		}
	}
	if isPath(s) {
		return Reference{}, invalid(s, "a name, or a scheme before the path", "oci-layout:"+s)
	}
	return parseName(s)
}

// kindOf is the kind that a scheme which names a path implies.
func kindOf(s Scheme) (Kind, bool) {
	switch s {
	case OCILayout, OCIArchive, DockerArchive:
		return Image, true
	case ModelDir:
		return Model, true
	case MCPFile, NPM:
		return MCP, true
	case Receipt:
		return 0, true
	}
	return 0, false
}

func isPath(s string) bool {
	return strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") ||
		strings.HasPrefix(s, "@") || s == "." || s == ".." || drive(s) > 0
}

// drive is the length of what Windows begins an absolute path with, C:\ or C:/.
func drive(s string) int {
	if len(s) >= 3 && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z') && s[1] == ':' && (s[2] == '\\' || s[2] == '/') {
		return 3
	}
	return 0
}

func parseDaemon(s, rest string) (Reference, error) {
	r, err := parseName(rest)
	if err != nil {
		return Reference{}, invalid(s, "docker-daemon:NAME[:TAG]", "docker-daemon:agent:latest")
	}
	if r.digest != "" {
		return Reference{}, invalid(s, "a name or a tag: a daemon does not keep manifests by digest", "")
	}
	r.scheme = DockerDaemon
	return r, nil
}

func parseLocal(s string, scheme Scheme, kind Kind, rest string) (Reference, error) {
	r := Reference{kind: kind, scheme: scheme, file: rest}
	if kind != Image {
		if rest == "@" {
			return Reference{}, invalid(s, "a path", "")
		}
		return r, nil
	}
	if file, hex, ok := cutLast(rest, "@sha256:"); ok {
		d, err := parseDigest("sha256:" + hex)
		if err != nil {
			return Reference{}, invalid(s, "@sha256: and 64 lower-case hexadecimal digits", "")
		}
		r.file, r.digest = file, d
	} else if file, tag, ok := cutLast(rest, ":"); ok && len(file) >= drive(rest) && validTag(tag) {
		r.file, r.tag = file, tag
	}
	if r.file == "" || strings.HasPrefix(r.file, "@") {
		return Reference{}, invalid(s, "a path after "+string(scheme)+":", "")
	}
	return r, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func parseDigest(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if err := d.Validate(); err != nil {
		return "", err
	}
	if d.Algorithm() != digest.SHA256 {
		return "", digest.ErrDigestUnsupported
	}
	return d, nil
}

func invalid(s, expected, next string) error {
	return &reason.Error{Code: reason.ReferenceInvalid, What: "parse reference " + quote(s), Expected: expected, Next: next}
}
