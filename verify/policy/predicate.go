package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
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

// decodeObject reads a predicate that is an object.
func decodeObject(raw json.RawMessage) (object, error) {
	v, err := decode(raw)
	if err != nil {
		return nil, err
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the predicate is not an object")
	}
	return root, nil
}

// parser reads members of known type; the first error sticks.
type parser struct{ err error }

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// member is a member that is there; null is the absence of one that is not
// needed, as protobuf writes it.
func member(o object, name string, needed bool) (v any, ok bool) {
	v, ok = o[name]
	return v, ok && (v != nil || needed)
}

func (p *parser) object(o object, name string, needed bool) object {
	v, ok := member(o, name, needed)
	m, isObject := v.(map[string]any)
	if ok && !isObject || !ok && needed {
		p.fail("%s is not an object", name)
	}
	return m
}

func (p *parser) text(o object, name string, needed bool) string {
	v, ok := member(o, name, needed)
	s, isText := v.(string)
	if ok && !isText || needed && s == "" {
		p.fail("%s is not text", name)
	}
	return s
}

func (p *parser) list(o object, name string, needed bool) (out []object) {
	v, ok := member(o, name, needed)
	items, isList := v.([]any)
	if ok && !isList || !ok && needed {
		p.fail("%s is not a list", name)
	}
	for _, item := range items {
		m, isObject := item.(map[string]any)
		if !isObject {
			p.fail("%s holds something else than objects", name)
		}
		out = append(out, m)
	}
	return out
}

// texts is a list of texts.
func (p *parser) texts(o object, name string, needed bool) (out []string) {
	v, ok := member(o, name, needed)
	items, isList := v.([]any)
	if ok && !isList || !ok && needed {
		p.fail("%s is not a list", name)
	}
	for _, item := range items {
		s, isText := item.(string)
		if !isText {
			p.fail("%s holds something else than text", name)
		}
		out = append(out, s)
	}
	return out
}

// time is an instant (RFC 3339), zero where there is none.
func (p *parser) time(o object, name string, needed bool) (at time.Time) {
	if s := p.text(o, name, needed); s != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, s); err != nil {
			p.fail("%s is not a time: %s", name, clip(s))
		}
	}
	return at
}

// span is two instants, neither needed, of which the second is no earlier.
func (p *parser) span(o object, from, to string) {
	start, end := p.time(o, from, false), p.time(o, to, false)
	if !start.IsZero() && !end.IsZero() && end.Before(start) {
		p.fail("%s is before %s", to, from)
	}
}
