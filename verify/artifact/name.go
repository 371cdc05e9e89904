package artifact

import (
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	defaultRegistry = "docker.io"
	maxName         = 255 // bytes, registry included
	maxTag          = 128 // bytes
)

// parseName reads an image name with docker's normalisation.
func parseName(s string) (Reference, error) {
	r := Reference{kind: Image}
	rest := s
	if name, d, ok := strings.Cut(s, "@"); ok {
		digest, err := parseDigest(d)
		if err != nil {
			return Reference{}, invalid(s, "@sha256: and 64 lower-case hexadecimal digits", "")
		}
		rest, r.digest = name, digest
	}
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, r.tag = rest[:i], rest[i+1:]
		if !validTag(r.tag) {
			return Reference{}, invalid(s, "a tag of letters, digits, '_', '.' and '-'", "")
		}
	}
	r.registry, r.path = splitName(rest)
	if !validRegistry(r.registry) {
		return Reference{}, invalid(s, "a registry host[:port]", "")
	}
	if !validPath(r.path) || len(r.registry)+1+len(r.path) > maxName {
		return Reference{}, invalid(s, "a lower-case repository path", nextName(rest))
	}
	if r.tag == "" && r.digest == "" {
		r.tag = "latest"
	}
	return r, nil
}

func nextName(s string) string {
	if low := strings.ToLower(s); low != s {
		return low
	}
	return ""
}

// splitName applies docker's rule for what is a registry and what is a path.
func splitName(s string) (registry, path string) {
	first, rest, slash := strings.Cut(s, "/")
	if slash && (strings.ContainsAny(first, ".:") || first == "localhost") {
		registry, path = strings.ToLower(first), rest
	} else {
		registry, path = defaultRegistry, s
	}
	if registry == "index.docker.io" {
		registry = defaultRegistry
	}
	if registry == defaultRegistry && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return registry, path
}

// validRegistry accepts host names, IPv4 addresses and bracketed IPv6
// addresses, with an optional port. The port of "[::1]" needs the brackets.
func validRegistry(s string) bool {
	host := s
	var port string
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return false
		}
		host, port = s[1:end], s[end+1:]
		if port != "" && port[0] != ':' {
			return false
		}
		for i := range len(host) {
			if !isHex(host[i]) && host[i] != ':' && host[i] != '.' {
				return false
			}
		}
		if !strings.Contains(host, ":") {
			return false
		}
		return port == "" || validPort(port[1:])
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
		if !validPort(port) {
			return false
		}
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isAlnum(c) && c != '-' {
				return false
			}
		}
	}
	return host != ""
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '+'
}

// validPath accepts components of [a-z0-9] runs joined by one '.', one or two
// '_', or any number of '-', themselves joined by '/'.
func validPath(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || !isAlnum(part[0]) || !isAlnum(part[len(part)-1]) {
			return false
		}
		for i := 0; i < len(part); {
			if isAlnum(part[i]) {
				i++
				continue
			}
			j := i
			for j < len(part) && part[j] == part[i] {
				j++
			}
			switch n := j - i; {
			case part[i] == '-', part[i] == '.' && n == 1, part[i] == '_' && n <= 2:
			default:
				return false
			}
			if !isAlnum(part[j]) { // the last byte is alphanumeric, so j is in range
				return false
			}
			i = j
		}
	}
	return true
}

func validTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func isHex(c byte) bool   { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
func quote(s string) string {
	return strconv.QuoteToGraphic(s)
}

// Kind says by whose rules the artifact is judged.
func (r Reference) Kind() Kind { return r.kind }

// As gives the reference another kind: the image of a tool server is parsed
// as an image and judged as MCP.
func (r Reference) As(k Kind) Reference {
	if r.Zero() {
		return r
	}
	r.kind = k
	return r
}

// Scheme says where the reference points.
func (r Reference) Scheme() Scheme { return r.scheme }

// Name is what policy matches: the normalised registry name without tag and
// digest, or the name given by Named. It is empty for a local artifact that
// nobody named, and the empty name matches nothing.
func (r Reference) Name() string {
	if r.name != "" || r.registry == "" {
		return r.name
	}
	return r.registry + "/" + r.path
}

// Registry is the host[:port] of a registry or docker-daemon name, else empty.
func (r Reference) Registry() string { return r.registry }

// Repository is the path within the registry, else empty.
func (r Reference) Repository() string { return r.path }

// Tag is the tag, empty if the reference has only a digest or neither.
func (r Reference) Tag() string { return r.tag }

// Digest is the digest the reference asks for, empty if none.
func (r Reference) Digest() digest.Digest { return r.digest }

// Path is the folder or file of a local scheme, as written.
func (r Reference) Path() string { return r.file }

// Zero reports whether the reference came from anywhere but this package.
func (r Reference) Zero() bool { return r == Reference{} }

// Named gives a local artifact the name that a task or a flag gives it. For
// an image the name is normalised like any other image name (a tag in it
// becomes the tag when there is none), so that policy sees the same name
// whether the bytes came from a folder or a registry. A malformed name
// (CheckName) yields the zero Reference, and so does any name for a reference that
// has one of its own, by which its bytes are found.
func (r Reference) Named(name string) Reference {
	if r.Zero() || r.file == "" || CheckName(r.kind, name) != nil {
		return Reference{}
	}
	if r.kind != Image {
		r.name = name
		return r
	}
	n, err := parseName(name)
	if err != nil {
		return Reference{}
	}
	r.name = n.Name()
	return r
}

// CheckName says why Named would refuse a name. An image's name is an image
// name without a digest; other names are slash-separated words of letters,
// digits, '.', '_' and '-'. The error's code is reference-invalid.
func CheckName(k Kind, name string) error {
	if k == Image {
		r, err := parseName(name)
		if err == nil && r.digest != "" {
			return invalid(name, "a name without a digest", "")
		}
		return err
	}
	if name == "" || len(name) > maxName {
		return invalid(name, "a name of 1 to 255 bytes", "")
	}
	for part := range strings.SplitSeq(name, "/") {
		if !validTag(part) {
			return invalid(name, "words of letters, digits, '.', '_' and '-', joined by '/'", "")
		}
	}
	return nil
}

// WithDigest pins the reference to a digest, keeping name and tag: what a lock
// does to a tag. A digest other than sha256 yields the zero Reference.
func (r Reference) WithDigest(d digest.Digest) Reference {
	if _, err := parseDigest(string(d)); err != nil || r.Zero() {
		return Reference{}
	}
	r.digest = d
	return r
}

// String is the normalised reference. Parse reads it back, except for a
// docker-daemon reference pinned with WithDigest.
func (r Reference) String() string {
	var b strings.Builder
	if r.scheme != Registry {
		b.WriteString(string(r.scheme))
		b.WriteByte(':')
	}
	if r.registry != "" {
		b.WriteString(r.registry + "/" + r.path)
	} else {
		b.WriteString(r.file)
	}
	if r.tag != "" && (r.digest == "" || r.registry != "") {
		b.WriteString(":" + r.tag)
	}
	if r.digest != "" {
		b.WriteString("@" + string(r.digest))
	}
	return b.String()
}
