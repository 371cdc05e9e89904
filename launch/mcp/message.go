package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth  = 128
	maxMethod = 256
)

// kind says what a message is.
type kind uint8

const (
	request kind = iota + 1
	notification
	response
)

// message is one JSON-RPC message. All but method are parts of its text.
type message struct {
	kind    kind
	members []member // in their order
	id      string   // "n12", "sabc": equal for equal ids, however written; "" for none
	method  string
}

// member is one member of an object, as written.
type member struct{ name, value []byte }

// parse reads a message and drops the white space between its tokens.
func parse(raw []byte) (message, error) {
	if !utf8.Valid(raw) {
		return message{}, errors.New("text that is not UTF-8")
	}
	if t := bytes.TrimLeft(raw, " \t\r\n"); len(t) > 0 && t[0] == '[' {
		return message{}, errors.New("a batch")
	}
	var text bytes.Buffer
	text.Grow(len(raw))
	if err := json.Compact(&text, raw); err != nil {
		return message{}, fmt.Errorf("no JSON: %w", err)
	}
	s := scanner{raw: text.Bytes()}
	if s.raw[0] != '{' {
		return message{}, errors.New("no JSON object")
	}
	if err := s.object(0); err != nil {
		return message{}, err
	}
	m := message{members: s.top}
	return m, m.classify()
}

// classify holds the members to JSON-RPC 2.0.
func (m *message) classify() error {
	var has struct{ version, id, method, params, result, fault bool }
	for _, x := range m.members {
		switch string(x.name) {
		case `"jsonrpc"`:
			has.version = string(x.value) == `"2.0"`
		case `"id"`:
			var err error
			if m.id, err = idKey(x.value); err != nil {
				return err
			}
			has.id = true
		case `"method"`:
			if x.value[0] != '"' || json.Unmarshal(x.value, &m.method) != nil || m.method == "" || len(m.method) > maxMethod {
				return errors.New("a method that is not a name")
			}
			has.method = true
		case `"params"`:
			if x.value[0] != '{' && x.value[0] != '[' {
				return errors.New("params that are no object")
			}
			has.params = true
		case `"result"`:
			has.result = true
		case `"error"`:
			if x.value[0] != '{' {
				return errors.New("an error that is no object")
			}
			has.fault = true
		default:
			return fmt.Errorf("member %s", clip(x.name))
		}
	}
	switch answer := has.result || has.fault; {
	case !has.version:
		return errors.New(`no "jsonrpc":"2.0"`)
	case has.method && !answer && m.id != "":
		m.kind = request
	case has.method && !answer && !has.id:
		m.kind = notification
	case !has.method && has.result != has.fault && !has.params && has.id && (m.id != "" || has.fault):
		m.kind = response // an error without an id is about nothing in particular
	default:
		return errors.New("neither a request nor a notification nor a response")
	}
	return nil
}

// idKey is the identity of an id; "" for null.
func idKey(raw []byte) (string, error) {
	switch {
	case len(raw) == 0:
		return "", errors.New("no id")
	case string(raw) == "null":
		return "", nil
	case raw[0] == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil || len(s) > maxMethod {
			return "", errors.New("an id that is no short text")
		}
		return "s" + s, nil
	}
	digits := strings.TrimPrefix(string(raw), "-")
	if digits == "" || len(digits) > 15 || strings.Trim(digits, "0123456789") != "" || string(raw) == "-0" {
		return "", fmt.Errorf("id %s", clip(raw))
	}
	return "n" + string(raw), nil
}

// text is the message on one line, with its newline.
func (m message) text() []byte {
	n := 3
	for _, x := range m.members {
		n += len(x.name) + len(x.value) + 2
	}
	out := append(make([]byte, 0, n), '{')
	for i, x := range m.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, x.name...), ':'), x.value...)
	}
	return append(out, "}\n"...)
}

// with is the message with another value of one member.
func (m message) with(name string, value []byte) message {
	members := append([]member(nil), m.members...)
	for i := range members {
		if string(members[i].name) == name {
			members[i].value = value
		}
	}
	m.members = members
	return m
}

// value is the value of a member, nil when there is none.
func (m message) value(name string) []byte { return find(m.members, name) }

func find(members []member, name string) []byte {
	for _, x := range members {
		if string(x.name) == name {
			return x.value
		}
	}
	return nil
}

// members takes an object apart; nil for anything else.
func members(object []byte) []member {
	if len(object) == 0 || object[0] != '{' {
		return nil
	}
	s := scanner{raw: object}
	if s.object(0) != nil {
		return nil
	}
	return s.top
}

// scanner walks valid JSON without white space between tokens.
type scanner struct {
	raw []byte
	at  int
	top []member
}

func (s *scanner) value(depth int) error {
	switch s.raw[s.at] {
	case '{':
		return s.object(depth)
	case '[':
		return s.list(depth)
	case '"':
		s.str()
	default:
		for s.at < len(s.raw) && !strings.ContainsRune(",]}", rune(s.raw[s.at])) {
			s.at++
		}
	}
	return nil
}

func (s *scanner) object(depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("nesting deeper than %d", maxDepth)
	}
	seen := map[string]bool{}
	for s.at++; s.raw[s.at] != '}'; {
		name := s.str()
		var plain string
		if err := json.Unmarshal(name, &plain); err != nil {
			return err
		}
		if seen[plain] {
			return fmt.Errorf("member %s twice", clip(name))
		}
		seen[plain] = true
		s.at++ // the colon
		from := s.at
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if depth == 0 {
			s.top = append(s.top, member{name, s.raw[from:s.at]})
		}
		if s.raw[s.at] == ',' {
			s.at++
		}
	}
	s.at++
	return nil
}

func (s *scanner) list(depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("nesting deeper than %d", maxDepth)
	}
	for s.at++; s.raw[s.at] != ']'; {
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if s.raw[s.at] == ',' {
			s.at++
		}
	}
	s.at++
	return nil
}

// str takes a string with its quotes: to the first quote behind an even number of
// backslashes.
func (s *scanner) str() []byte {
	from := s.at
	for s.at++; ; s.at++ {
		s.at += bytes.IndexByte(s.raw[s.at:], '"')
		back := s.at
		for s.raw[back-1] == '\\' {
			back--
		}
		if (s.at-back)%2 == 0 {
			break
		}
	}
	s.at++
	return s.raw[from:s.at]
}

// clip quotes the beginning of somebody's text for a message.
func clip(b []byte) string {
	return fmt.Sprintf("%.60q", b)
}
