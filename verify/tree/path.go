package tree

import (
	"strings"
	"unicode/utf8"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Longest names that Linux takes, in bytes.
const (
	maxComponent = 255
	maxPath      = 4096 - 1 // PATH_MAX counts the closing NUL
)

// comparePaths orders paths depth-first: by component, a parent before its
// children. '/' sorts below every byte that a name can hold.
func comparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x == '/' {
			return -1
		}
		if y == '/' || x > y {
			return 1
		}
		return -1
	}
	return len(a) - len(b)
}

// parent is the path of p's directory; "." for a path of one component.
func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return "."
}

// base is the last component of p.
func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// validPath reports why p cannot be an Entry's Path, or "". The root is not
// accepted here.
func validPath(p string) reason.Code {
	if len(p) > maxPath {
		return reason.TarNameLength
	}
	start, ascii := 0, true
	for i := 0; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			if p[i] == 0 {
				return reason.TarPath
			}
			ascii = ascii && p[i] < utf8.RuneSelf
			continue
		}
		switch n := i - start; {
		case n == 0, n == 1 && p[start] == '.', n == 2 && p[start] == '.' && p[start+1] == '.':
			return reason.TarPath
		case n > maxComponent:
			return reason.TarNameLength
		}
		start = i + 1
	}
	if !ascii && !utf8.ValidString(p) {
		return reason.TarNameEncoding
	}
	return ""
}

// cleanName turns a name as tar writes it into a Path: "./", empty and "."
// components vanish. The root comes out as ".".
func cleanName(name string) (string, reason.Code) {
	if strings.HasPrefix(name, "/") {
		return "", reason.TarPath
	}
	if code := validPath(name); code == "" {
		return name, ""
	}
	var kept []string
	for c := range strings.SplitSeq(name, "/") {
		switch c {
		case "", ".":
		case "..":
			return "", reason.TarPath
		default:
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 {
		if name == "" {
			return "", reason.TarPath
		}
		return ".", ""
	}
	p := strings.Join(kept, "/")
	return p, validPath(p)
}
