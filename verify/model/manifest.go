package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

const (
	maxFiles = 1 << 20
	maxName  = 4096
	nameless = "." // the name of a single file before 1.1
	manTag   = "ztlaunch/model/v1\n"
)

// manifest is the predicate of a model signature.
type manifest struct {
	files  []file // in the order in which they are signed
	ignore []string
	notes  []string
}

type file struct {
	name string
	sum  digest.Digest
}

// alone is the name of the one file of a manifest that gives it none, else "".
func (m manifest) alone() string {
	if len(m.files) == 1 && m.files[0].name == nameless {
		return nameless
	}
	return ""
}

// placed gives the nameless file its name, which only the caller's path knows.
func (m *manifest) placed(single string) error {
	switch name := m.alone(); {
	case single == "" && name != "":
		return &reason.Error{Code: reason.ModelName, What: "read model signature",
			Expected: "names of files in a folder", Found: quote(name), Next: "model:FILE, for a signature over a single file"}
	case name != "":
		m.files[0].name = single
	case single != "" && (len(m.files) != 1 || m.files[0].name != single):
		return &reason.Error{Code: reason.ModelFileMissing, What: "read model signature",
			Expected: "a signature over " + quote(single) + " alone", Found: "one over " + quote(m.files[0].name) + " and others, " + count(len(m.files)) + " in all"}
	}
	return nil
}

// signed reads what a Claim says, and holds its subject against it.
func signed(c evidence.Claim) (manifest, error) {
	what := "read model signature " + c.Envelope().String()
	if c.PredicateType() != evidence.PredicateModelSignature || c.StatementType() != evidence.StatementV1 {
		return manifest{}, &reason.Error{Code: reason.ModelPredicateType, What: what,
			Expected: evidence.PredicateModelSignature, Found: quote(c.PredicateType())}
	}
	if n := len(c.Subjects()); n != 1 {
		return manifest{}, &reason.Error{Code: reason.ModelSubjectCount, What: what, Expected: "1 subject", Found: count(n)}
	}
	m, err := parse(c.Predicate())
	if err != nil {
		if e, ok := reason.Of(err); ok {
			e.What = what
			return manifest{}, e
		}
		return manifest{}, &reason.Error{Code: reason.ModelMalformed, What: what, Err: err}
	}
	if got := m.root(); got != c.Subject() {
		return manifest{}, &reason.Error{Code: reason.ModelRootDigest, What: what, Expected: c.Subject().String(), Found: got.String()}
	}
	return m, nil
}

// root is the specification's root digest.
func (m manifest) root() digest.Digest {
	h := sha256.New()
	for _, f := range m.files {
		raw, _ := hex.DecodeString(f.sum.Encoded()) // parse made it from hex
		h.Write(raw)
	}
	return sumOf(h)
}

// Manifest is the digest of a model's files: their names, sizes and digests.
func Manifest(t tree.Tree) digest.Digest {
	var files []tree.Entry
	for e := range t.Entries() {
		if e.Type == tree.File {
			files = append(files, e)
		}
	}
	slices.SortFunc(files, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	io.WriteString(h, manTag)
	for _, e := range files {
		fmt.Fprintf(h, "%s %d %s\x00", e.Digest.Encoded(), e.Size, e.Path)
	}
	return sumOf(h)
}

func sumOf(h hash.Hash) digest.Digest { return digest.NewDigest(digest.SHA256, h) }

// parse reads a predicate. An error with a code of its own is a *reason.Error
// without What; any other error means that the text is malformed.
func parse(raw []byte) (manifest, error) {
	if !utf8.Valid(raw) {
		return manifest{}, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	var m manifest
	err := object(d, map[string]func() error{
		"resources":     func() error { return array(d, func() error { return m.resource(d) }) },
		"serialization": func() error { return m.serialization(d) },
	})
	if err != nil {
		return manifest{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return manifest{}, errors.New("something follows the predicate")
	}
	if len(m.files) == 0 {
		return manifest{}, &reason.Error{Code: reason.ModelEmpty, Expected: "at least one resource"}
	}
	if err := m.names(); err != nil {
		return manifest{}, err
	}
	if !slices.IsSortedFunc(m.files, func(a, b file) int { return strings.Compare(a.name, b.name) }) {
		m.notes = append(m.notes, "the resources are not listed in code point order")
	}
	return m, nil
}

func (m *manifest) resource(d *json.Decoder) error {
	var name, algorithm, sum string
	err := object(d, map[string]func() error{
		"name": text(d, &name), "algorithm": text(d, &algorithm), "digest": text(d, &sum),
	})
	if err != nil {
		return err
	}
	if algorithm != "sha256" {
		return &reason.Error{Code: reason.ModelAlgorithm, Expected: "sha256", Found: quote(algorithm) + " for " + quote(name)}
	}
	if len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
		return &reason.Error{Code: reason.ModelDigest, Expected: "64 lower-case hexadecimal digits", Found: quote(sum) + " for " + quote(name)}
	}
	if len(m.files) == maxFiles {
		return fmt.Errorf("more than %d resources", maxFiles)
	}
	m.files = append(m.files, file{name, digest.NewDigestFromEncoded(digest.SHA256, sum)})
	return nil
}

func (m *manifest) serialization(d *json.Decoder) error {
	var method, hashType string
	var links, sharded bool
	err := object(d, map[string]func() error{
		"method": text(d, &method), "hash_type": text(d, &hashType),
		"?allow_symlinks": func() error {
			t, err := d.Token()
			var ok bool
			if links, ok = t.(bool); err == nil && !ok {
				err = errors.New("allow_symlinks is not true or false")
			}
			return err
		},
		"?ignore_paths": func() error {
			return array(d, func() error {
				var p string
				err := text(d, &p)()
				m.ignore = append(m.ignore, p)
				return err
			})
		},
		"?shard_size": func() error { // only with method "shards", which is refused below
			_, err := d.Token()
			sharded = true
			return err
		},
	})
	switch {
	case err != nil:
		return err
	case method != "files" || sharded:
		return &reason.Error{Code: reason.ModelMethod, Expected: `method "files" without shard_size`, Found: quote(method)}
	case hashType != "sha256":
		return &reason.Error{Code: reason.ModelAlgorithm, Expected: "sha256", Found: quote(hashType)}
	case links:
		return &reason.Error{Code: reason.ModelSymlinksAllowed, Expected: "allow_symlinks false", Found: "true",
			Next: "sign the files themselves, without following links"}
	case len(m.ignore) > maxFiles:
		return fmt.Errorf("more than %d ignored paths", maxFiles)
	}
	return nil
}

// object reads one object: exactly the named members, each once; those whose
// name begins with "?" may be absent.
func object(d *json.Decoder, members map[string]func() error) error {
	if t, err := d.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return fmt.Errorf("%v is not an object", t)
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		read := members[name]
		if strings.HasPrefix(name, "?") {
			read = nil
		}
		if read == nil {
			read = members["?"+name]
		}
		switch {
		case read == nil:
			return fmt.Errorf("member %q", name)
		case seen[name]:
			return fmt.Errorf("member %q twice", name)
		}
		seen[name] = true
		if err := read(); err != nil {
			return err
		}
	}
	for name := range members {
		if !seen[name] && !strings.HasPrefix(name, "?") {
			return fmt.Errorf("no %s", name)
		}
	}
	_, err := d.Token()
	return err
}

func array(d *json.Decoder, item func() error) error {
	if t, err := d.Token(); err != nil {
		return err
	} else if t != json.Delim('[') {
		return fmt.Errorf("%v is not a list", t)
	}
	for d.More() {
		if err := item(); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func text(d *json.Decoder, into *string) func() error {
	return func() error {
		t, err := d.Token()
		if err != nil {
			return err
		}
		s, ok := t.(string)
		if !ok {
			return fmt.Errorf("%v is not text", t)
		}
		*into = s
		return nil
	}
}

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

func quote(s string) string { return strconv.QuoteToGraphic(s) }

func count(n int) string { return strconv.Itoa(n) }
