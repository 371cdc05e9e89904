package policy

import (
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
)

// pattern is a match pattern. The zero pattern matches nothing.
type pattern string

// fault says why a pattern is not well-formed; "" if it is.
func (p pattern) fault(k artifact.Kind) string {
	switch {
	case p == "":
		return "an empty pattern"
	case strings.ContainsAny(string(p), "?[]{}()\\^$+|!"), strings.ContainsFunc(string(p), func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "a character that a name cannot hold"
	case strings.HasPrefix(string(p), "/") || strings.HasSuffix(string(p), "/") || strings.Contains(string(p), "//"):
		return "an empty component"
	case strings.Contains(string(p), "@"):
		return "a digest, which belongs in digests"
	}
	for part := range strings.SplitSeq(string(p), "/") {
		if strings.Contains(part, "**") && part != "**" {
			return "** beside other characters of a component"
		}
	}
	if k == artifact.Image {
		first, rest, ok := strings.Cut(string(p), "/")
		switch {
		case first == "**" && !ok:
		case !ok, !strings.ContainsAny(first, ".:*") && first != "localhost":
			return "a name without its registry"
		case strings.ContainsRune(rest, ':'):
			return "a tag; rules match names"
		}
	}
	return ""
}

// matches compares a whole name.
func (p pattern) matches(name string) bool {
	if p == "" || name == "" {
		return false
	}
	return components(strings.Split(string(p), "/"), strings.Split(name, "/"))
}

func components(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for n := 1; n <= len(name); n++ {
				if components(pattern[1:], name[n:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 || !glob(pattern[0], name[0]) {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}

// glob compares a whole string with a pattern in which "*" stands for any run
// of characters but "/", white space and control characters.
func glob(pattern, s string) bool {
	return globOf(pattern, s, func(c byte) bool { return c != '/' && c > ' ' && c != 0x7f })
}

// globName is glob where "*" stands for nothing that ends a part of a name, or is
// read differently by others: no "@", "?", "#", "%" or "\", and only ASCII.
func globName(pattern, s string) bool { return globOf(pattern, s, nameByte) }

func nameByte(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune("/@?#%\\", rune(c))
}

// globOf compares a whole string with a pattern in which "*" stands for any run
// of the bytes that in allows. It takes time in proportion to len(pattern)*len(s).
func globOf(pattern, s string, in func(byte) bool) bool {
	star, mark, i, j := -1, 0, 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && pattern[i] == s[j]:
			i, j = i+1, j+1
		case star >= 0 && in(s[mark]):
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}
