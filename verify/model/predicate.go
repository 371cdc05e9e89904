package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

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
	if !slices.IsSortedFunc(m.files, func(a, b listed) int { return strings.Compare(a.name, b.name) }) {
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
	m.files = append(m.files, listed{name, digest.NewDigestFromEncoded(digest.SHA256, sum)})
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
