package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// object is a JSON object whose members are read by exact name; encoding/json
// would take "builderid" for "builderId". That no name appears twice was seen to
// when the envelope was parsed.
type object map[string]any

// decode reads a predicate. Integers that fit are int64, other numbers float64.
func decode(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("trailing data")
	}
	return numbers(v)
}

func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
		return v.Float64()
	case map[string]any:
		for k := range v {
			if v[k], err = numbers(v[k]); err != nil {
				return nil, err
			}
		}
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// parser reads members of known type; the first error sticks.
type parser struct{ err error }

func (p *parser) object(o object, name string, needed bool) object {
	v, ok := o[name]
	m, isObject := v.(map[string]any)
	if p.err == nil && (ok && !isObject || !ok && needed) {
		p.err = fmt.Errorf("%s is not an object", name)
	}
	return m
}

func (p *parser) text(o object, name string, needed bool) string {
	v, ok := o[name]
	s, isText := v.(string)
	if p.err == nil && (ok && !isText || needed && s == "") {
		p.err = fmt.Errorf("%s is not text", name)
	}
	return s
}

func (p *parser) list(o object, name string, needed bool) (out []object) {
	v, ok := o[name]
	items, isList := v.([]any)
	if p.err == nil && (ok && !isList || !ok && needed) {
		p.err = fmt.Errorf("%s is not a list", name)
	}
	for _, item := range items {
		m, isObject := item.(map[string]any)
		if p.err == nil && !isObject {
			p.err = fmt.Errorf("%s holds something else than objects", name)
		}
		out = append(out, m)
	}
	return out
}
