package model

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// names checks every name and ignored path.
func (m *manifest) names() error {
	if m.alone() == "" {
		for _, f := range m.files {
			if why := badName(f.name); why != "" {
				return &reason.Error{Code: reason.ModelName, Expected: "a relative path", Found: quote(f.name) + ": " + why}
			}
		}
	}
	fold := cases.Fold()
	byName := make(map[string]string, len(m.files))
	for _, f := range m.files {
		key := norm.NFC.String(fold.String(norm.NFD.String(f.name)))
		if other, ok := byName[key]; ok {
			code, expected := reason.ModelNameTwins, "names that differ in more than case and normalisation"
			if other == f.name {
				code, expected = reason.ModelNameTwice, "each name once"
			}
			return &reason.Error{Code: code, Expected: expected, Found: quote(other) + " and " + quote(f.name)}
		}
		byName[key] = f.name
	}
	exact := make(map[string]bool, len(m.files))
	for _, f := range m.files {
		exact[f.name] = true
	}
	for _, f := range m.files {
		for up := parent(f.name); up != ""; up = parent(up) {
			if exact[up] {
				return &reason.Error{Code: reason.ModelName, Expected: "files", Found: quote(f.name) + " below the file " + quote(up)}
			}
		}
	}
	ignored := make(map[string]bool, len(m.ignore))
	for _, p := range m.ignore {
		if why := badName(p); why != "" {
			return &reason.Error{Code: reason.ModelIgnorePath, Expected: "a relative path", Found: quote(p) + ": " + why}
		}
		ignored[p] = true
	}
	for _, f := range m.files {
		for up := f.name; up != ""; up = parent(up) {
			if ignored[up] {
				return &reason.Error{Code: reason.ModelIgnorePath, Expected: "paths without signed files", Found: quote(f.name) + " is signed and ignored"}
			}
		}
	}
	return nil
}

// badName says why a name is refused, or "".
func badName(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > maxName:
		return "it is too long"
	case !utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError):
		return "it is not UTF-8"
	case strings.ContainsAny(name, "\x00\\"):
		return "it has a NUL or a backslash"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "":
			return "it has an empty component"
		case ".", "..":
			return "it has a component " + part
		}
		if len(part) > 255 {
			return "it has a component that is too long"
		}
	}
	return ""
}

func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}
