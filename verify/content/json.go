package content

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// MaxJSONDepth is how deeply objects and arrays may nest.
const MaxJSONDepth = 64

// CheckJSON accepts exactly one JSON value (RFC 8259) in valid UTF-8, nested
// at most MaxJSONDepth deep, in which no object has a key twice, not even in
// another case. What names the value in the error, whose code is one of
// json-malformed, json-trailing-data, json-too-deep, json-duplicate-key and
// json-variant-key.
func CheckJSON(what string, raw []byte) error {
	return walkJSON(what, raw, nil, true)
}

// DecodeJSON decodes raw into v, a pointer to a struct, as json.Unmarshal
// does, for input whose readers must all agree on what it says: the same
// checks as CheckJSON, but keys of a map in v may differ in case alone (they
// are data), and a key that a struct knows in another case is refused (Go
// would take it for the known one, other readers would not). Keys that v does
// not know are allowed; what lies below them is checked for equal keys only.
func DecodeJSON(what string, raw []byte, v any) error {
	if err := walkJSON(what, raw, reflect.TypeOf(v), false); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return malformed(what, err)
	}
	return nil
}

func malformed(what string, err error) error {
	return &reason.Error{Code: reason.JSONMalformed, What: "parse " + what, Err: err}
}

type jsonWalk struct {
	what string
	d    *json.Decoder
	fold bool // objects of no known type refuse case variants
}

func walkJSON(what string, raw []byte, t reflect.Type, fold bool) error {
	if !utf8.Valid(raw) {
		return malformed(what, errors.New("not UTF-8"))
	}
	w := jsonWalk{what, json.NewDecoder(bytes.NewReader(raw)), fold}
	w.d.UseNumber()
	if err := w.value(t, 0); err != nil {
		return err
	}
	if _, err := w.d.Token(); err != io.EOF {
		return &reason.Error{Code: reason.JSONTrailing, What: "parse " + what, Expected: "one value", Found: fmt.Sprintf("more after byte %d", w.d.InputOffset())}
	}
	return nil
}

func (w *jsonWalk) value(t reflect.Type, depth int) error {
	tok, err := w.d.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return malformed(w.what, err)
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	if depth++; depth > MaxJSONDepth {
		return &reason.Error{Code: reason.JSONDeep, What: "parse " + w.what, Expected: fmt.Sprintf("at most %d levels", MaxJSONDepth)}
	}
	t = structural(t)
	if delim == '{' {
		if err := w.object(t, depth); err != nil {
			return err
		}
	} else {
		var elem reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			elem = t.Elem()
		}
		for w.d.More() {
			if err := w.value(elem, depth); err != nil {
				return err
			}
		}
	}
	if _, err := w.d.Token(); err != nil { // the closing delimiter
		return malformed(w.what, err)
	}
	return nil
}

func (w *jsonWalk) object(t reflect.Type, depth int) error {
	fold := w.fold
	var fields map[string]field
	var elem reflect.Type
	switch {
	case t == nil:
	case t.Kind() == reflect.Struct:
		fold, fields = true, map[string]field{}
		structFields(t, fields)
	case t.Kind() == reflect.Map:
		elem = t.Elem()
	}
	seen := map[string]string{}
	for w.d.More() {
		tok, err := w.d.Token()
		if err != nil {
			return malformed(w.what, err)
		}
		key := tok.(string) // the decoder yields nothing else here
		id := key
		if fold {
			id = foldKey(key)
		}
		if first, twice := seen[id]; twice {
			code := reason.JSONDuplicateKey
			if first != key {
				code = reason.JSONVariantKey
			}
			return &reason.Error{Code: code, What: "parse " + w.what, Expected: fmt.Sprintf("one %q", first), Found: fmt.Sprintf("%q", key)}
		}
		seen[id] = key
		next := elem
		if f, ok := fields[foldKey(key)]; ok {
			if f.name != key {
				return &reason.Error{Code: reason.JSONVariantKey, What: "parse " + w.what, Expected: fmt.Sprintf("%q", f.name), Found: fmt.Sprintf("%q", key)}
			}
			next = f.t
		}
		if err := w.value(next, depth); err != nil {
			return err
		}
	}
	return nil
}

// foldKey maps keys to one form if encoding/json may take one for the other:
// simple case folding, which strings.EqualFold uses, by way of upper case.
func foldKey(s string) string { return strings.ToLower(strings.ToUpper(s)) }

type field struct {
	name string
	t    reflect.Type
}

// structFields lists a struct's JSON fields under their folded names.
func structFields(t reflect.Type, into map[string]field) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			if e := structural(f.Type); e != nil && e.Kind() == reflect.Struct {
				structFields(e, into)
				continue
			}
		}
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		into[foldKey(name)] = field{name, f.Type}
	}
}

// structural is the type whose shape JSON follows, nil if the type reads JSON
// in its own way or takes any shape.
func structural(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface {
		return nil
	}
	p := reflect.PointerTo(t)
	if p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	return t
}
