package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// readRef reads a word as a reference. One that is an image's name by the rules, and
// a scheme with a path that exists here by its looks, is refused: a folder is never
// sought on a registry for want of "./".
func readRef(word string) (artifact.Reference, error) {
	ref, err := artifact.Parse(word)
	if err != nil {
		return artifact.Reference{}, err
	}
	switch ref.Scheme() {
	case artifact.MCPFile, artifact.NPM:
		return artifact.Reference{}, &reason.Error{Code: reason.ReferenceNotImage, What: "read " + word, Expected: "an image, or model:DIR", Found: "scheme " + string(ref.Scheme()),
			Next: "a server is an image today: name that, with --kind server for verify, lock and policy init"}
	case artifact.Receipt:
		return artifact.Reference{}, &reason.Error{Code: reason.ReferenceNotImage, What: "read " + word, Expected: "an image, or model:DIR", Found: "a receipt, which is about them",
			Next: "name the image"}
	}
	if scheme, path, ok := schemed(word, ref); ok {
		if _, err := os.Lstat(path); err == nil {
			return artifact.Reference{}, unclear(word, scheme, path, ref.String())
		}
	}
	return ref, nil
}

// readTarget reads a word as a reference to what is yet to be: the path need not exist.
func readTarget(word string) (artifact.Reference, error) {
	ref, err := readRef(word)
	if scheme, path, ok := schemed(word, ref); err == nil && ok {
		return artifact.Reference{}, unclear(word, scheme, path, ref.String())
	}
	return ref, err
}

// schemed parts a word that is an image's name by the rules, and a local scheme with
// a path by its looks.
func schemed(word string, ref artifact.Reference) (scheme, path string, ok bool) {
	scheme, path, ok = strings.Cut(word, ":")
	path, _, _ = strings.Cut(path, "@")
	return scheme, path, ok && ref.Scheme() == artifact.Registry && artifact.Scheme(scheme).Local()
}

func unclear(word, scheme, path, image string) error {
	return &reason.Error{Code: reason.ReferenceUnclear, What: "read " + word,
		Expected: "./ before a path, or the whole name of an image", Found: "what may be " + path + " here, or an image",
		Next: reason.Word(scheme+":./"+path) + ", or " + image}
}

// kindRef is parseRef of a word by whose rules --kind says an image is judged.
func kindRef(word, as, kind string) (artifact.Reference, error) {
	if err := checkKind(kind); err != nil {
		return artifact.Reference{}, err
	}
	ref, err := parseRef(word, as)
	switch {
	case err != nil:
		return artifact.Reference{}, err
	case kind == "server" && ref.Kind() == artifact.Image:
		return ref.As(artifact.MCP), nil
	case kind == "server":
		return artifact.Reference{}, wrong("read "+word+" with --kind server", "an image", "drop --kind")
	}
	return ref, nil
}

func checkKind(kind string) error {
	if kind == "image" || kind == "server" {
		return nil
	}
	return wrong("read --kind "+kind, "image or server", "--kind server; a model is model:DIR, without --kind")
}

// parseRef is namedRef of what must be there.
func parseRef(word, as string) (artifact.Reference, error) {
	ref, err := namedRef(word, as)
	if err == nil {
		err = present(ref)
	}
	if err != nil {
		return artifact.Reference{}, err
	}
	return ref, nil
}

// present refuses a path that nothing lies at, before anything else is asked.
func present(ref artifact.Reference) error {
	if ref.Path() == "" {
		return nil
	}
	if _, err := os.Stat(ref.Path()); !errors.Is(err, fs.ErrNotExist) {
		return nil // what else is wrong there, reading it tells
	}
	what := "file"
	if ref.Scheme() == artifact.OCILayout || ref.Scheme() == artifact.ModelDir {
		what = "folder"
	}
	return &reason.Error{Code: reason.FileUnreadable, What: "read " + ref.String(), Expected: "a " + what, Found: "nothing at " + ref.Path(),
		Next: "name a " + what + " that is there: " + string(ref.Scheme()) + ":./PATH"}
}

// namedRef reads a reference. A folder or archive has no name of its own: it is
// localhost/NAME, after its last path element, unless --as names it.
func namedRef(word, as string) (artifact.Reference, error) {
	ref, err := readRef(word)
	if err != nil {
		return artifact.Reference{}, err
	}
	if as != "" && ref.Path() == "" {
		return artifact.Reference{}, &reason.Error{Code: reason.UsageWrong, What: "read " + word + " as " + as, Expected: "a name for a folder or an archive only",
			Found: word + ", which has a name of its own", Next: "ztlaunch verify " + reason.Word(word) + ", without another name"}
	}
	if as != "" {
		if err := artifact.CheckName(ref.Kind(), as); err != nil {
			return artifact.Reference{}, err
		}
		return ref.Named(as), nil
	}
	if ref.Name() != "" || ref.Path() == "" {
		return ref, nil
	}
	at, err := filepath.Abs(ref.Path())
	if err != nil {
		return artifact.Reference{}, &reason.Error{Code: reason.FileUnreadable, What: "find " + ref.Path(), Err: err}
	}
	base := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return '-'
	}, strings.TrimSuffix(filepath.Base(at), filepath.Ext(at)))
	name := "localhost/" + cmp.Or(strings.Trim(base, "-"), "unnamed")
	if ref.Kind() == artifact.Model {
		name = strings.TrimPrefix(name, "localhost/")
	}
	return ref.Named(name), nil
}
