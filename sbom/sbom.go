// Package sbom reads software bills of materials and holds one against the
// files it claims to describe.
//
// Two families are read, both as JSON: SPDX 2.2 and 2.3, and CycloneDX 1.4 to
// 1.7. Either becomes one Document: packages, and files with the sha256 the
// document gives them. Reading is strict: at most 256 MiB, nested at most 64
// deep, no key twice in an object, no trailing data, valid UTF-8, a sha256 of
// 64 hex digits. Fields that the comparison does not need are checked for
// syntax and otherwise ignored.
//
// Where a document lists files:
//
//   - SPDX: files[] with fileName and checksums[]. A package owns the files
//     that it CONTAINS (or that are CONTAINED_BY it) by a relationship, or that
//     it names in hasFiles. The package which the document DESCRIBES stands for
//     the artifact as a whole and owns nothing by itself.
//   - CycloneDX: components of type file, name = path, with hashes. A package
//     owns the file components nested inside it.
//
// Being found at a path is not owning it: SPDX's "evident-by" relationships,
// CycloneDX's evidence.occurrences and syft's syft:location properties name the
// place where a cataloguer met a package (often a package database) and prove
// nothing about the bytes there.
//
// A path is compared without its leading "/" or "./". A file entry is covered
// in one of two ways: the document lists that path with that sha256 (Listed),
// or it lists the path without any sha256 under an owning package (ByPackage).
// A path listed without sha256 and without an owner vouches for no bytes
// (Unhashed). When a path is listed several times, as a scan of all layers
// does, one equal sha256 suffices.
//
// What is not checked here: who made or signed the document, which artifact it
// was made for, whether the package list is complete or its licences and
// versions are true, and sha1, md5 or sha512 values. The package knows nothing
// of trust.
package sbom

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// MaxSize is the largest document that Parse reads, in bytes.
const MaxSize = 256 << 20

// Format is the family of a document.
type Format string

// The families that are read.
const (
	SPDX      Format = "SPDX"
	CycloneDX Format = "CycloneDX"
)

// NoOwner is the Owner of a file that no package owns.
const NoOwner = -1

// Document is what a bill of materials says, unproved.
type Document struct {
	Format   Format
	Version  string   // "2.3", "1.6"
	Name     string   // of the document or its main component
	Created  string   // as written; not parsed
	Tools    []string // "name version" or as written
	Packages []Package
	Files    []File
}

// Package is one component that is not a file.
type Package struct {
	ID      string // SPDXID or bom-ref
	Name    string
	Version string
	PURL    string
	Hashes  []Hash
}

// Hash is a checksum as written: the algorithm in lower case without dashes
// ("sha256"), the value in lower case.
type Hash struct{ Algorithm, Value string }

// File is one listed path.
type File struct {
	Path   string // normalised: relative, clean; unusable ones are kept as written and match nothing
	SHA256 string // 64 hex digits in lower case, or ""
	Owner  int    // index into Packages, or NoOwner
}

// Parse reads a document. Its errors carry sbom-malformed or
// sbom-unsupported.
func Parse(raw []byte) (Document, error) {
	if len(raw) > MaxSize {
		return Document{}, &reason.Error{Code: reason.SBOMMalformed, What: "read SBOM",
			Expected: fmt.Sprintf("at most %d bytes", MaxSize), Found: fmt.Sprintf("%d bytes", len(raw))}
	}
	text := string(raw)
	format, version, err := sniff(text)
	if err != nil {
		return Document{}, malformed(err)
	}
	read, ok := readers[Format(format)+" "+Format(version)]
	if !ok {
		return Document{}, &reason.Error{Code: reason.SBOMUnsupported, What: "read SBOM",
			Expected: "SPDX 2.2 or 2.3, or CycloneDX 1.4 to 1.7, as JSON", Found: fmt.Sprintf("%s %s", format, shown(version))}
	}
	doc, err := read(text)
	if err != nil {
		return Document{}, malformed(err)
	}
	doc.Format, doc.Version = Format(format), version
	return doc, nil
}

// readers is keyed by family and version.
var readers = map[Format]func(string) (Document, error){
	"SPDX 2.2": readSPDX, "SPDX 2.3": readSPDX,
	"CycloneDX 1.4": readCycloneDX, "CycloneDX 1.5": readCycloneDX,
	"CycloneDX 1.6": readCycloneDX, "CycloneDX 1.7": readCycloneDX,
}

// sniff reads only as far as the members that name the format.
func sniff(raw string) (format, version string, err error) {
	s := &scan{b: raw}
	var spdx, cdx, spec string
	s.object(func(key string) {
		switch key {
		case "spdxVersion":
			spdx = s.str()
		case "bomFormat":
			cdx = s.str()
		case "specVersion":
			spec = s.str()
		default:
			if spdx == "" && (cdx == "" || spec == "") {
				s.skip()
			} else {
				s.err = errDone
			}
		}
	})
	if s.err != nil && !errors.Is(s.err, errDone) {
		return "", "", s.err
	}
	switch v, ok := strings.CutPrefix(spdx, "SPDX-"); {
	case ok:
		return string(SPDX), v, nil
	case cdx == string(CycloneDX):
		return string(CycloneDX), spec, nil
	}
	return "", "", errors.New("neither spdxVersion nor bomFormat CycloneDX")
}

var errDone = errors.New("done")

func malformed(err error) error {
	return &reason.Error{Code: reason.SBOMMalformed, What: "read SBOM", Found: err.Error()}
}

func shown(s string) string { return quote(s) }

// clean normalises a listed path; one that leaves the root or is empty stays
// as it is and matches no entry.
func clean(p string) string {
	c := strings.TrimPrefix(path.Clean("/"+p), "/")
	if c == "" || strings.Contains("/"+p+"/", "/../") {
		return p
	}
	return c
}

// sum256 picks the sha256 out of hashes; two different ones are refused.
func sum256(hashes []Hash) (string, error) {
	sum := ""
	for _, h := range hashes {
		if h.Algorithm != "sha256" {
			continue
		}
		if len(h.Value) != 64 || strings.Trim(h.Value, "0123456789abcdef") != "" {
			return "", fmt.Errorf("sha256 %s is not 64 hex digits", shown(h.Value))
		}
		if sum != "" && sum != h.Value {
			return "", errors.New("two sha256 values for one file")
		}
		sum = h.Value
	}
	return sum, nil
}

// hash normalises a checksum as either family writes it.
func hash(algorithm, value string) Hash {
	switch algorithm { // the common spellings, without a copy
	case "SHA1", "SHA-1":
		return Hash{"sha1", strings.ToLower(value)}
	case "SHA256", "SHA-256":
		return Hash{"sha256", strings.ToLower(value)}
	}
	return Hash{strings.ReplaceAll(strings.ToLower(algorithm), "-", ""), strings.ToLower(value)}
}
