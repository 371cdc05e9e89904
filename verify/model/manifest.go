package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

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
	files  []listed // in the order in which they are signed
	ignore []string
	notes  []string
}

type listed struct {
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
	return files(what, c.Predicate(), c.Subject())
}

// files reads a predicate, whose files must hash to the subject.
func files(what string, predicate []byte, subject digest.Digest) (manifest, error) {
	m, err := parse(predicate)
	if err != nil {
		if e, ok := reason.Of(err); ok {
			e.What = what
			return manifest{}, e
		}
		return manifest{}, &reason.Error{Code: reason.ModelMalformed, What: what, Err: err}
	}
	if got := m.root(); got != subject {
		return manifest{}, &reason.Error{Code: reason.ModelRootDigest, What: what, Expected: subject.String(), Found: got.String()}
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
	h.Write([]byte(manTag))
	for _, e := range files {
		fmt.Fprintf(h, "%s %d %s\x00", e.Digest.Encoded(), e.Size, e.Path)
	}
	return sumOf(h)
}

func sumOf(h hash.Hash) digest.Digest { return digest.NewDigest(digest.SHA256, h) }

func quote(s string) string { return strconv.QuoteToGraphic(s) }

func count(n int) string { return strconv.Itoa(n) }
