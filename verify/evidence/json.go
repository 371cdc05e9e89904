package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth  = 256     // how deep a text may nest
	maxNames  = 1 << 17 // members of the objects around any one place in a text
	maxValues = 1 << 14 // values in what is decoded into structures: bundles have some dozens
)

// duplicateMember says which member an object has twice.
type duplicateMember string

func (m duplicateMember) Error() string { return fmt.Sprintf("member %q is given twice", string(m)) }

// strict holds a JSON text (RFC 8259) to the I-JSON rules (RFC 7493) that two
// parsers could otherwise disagree about: one value and nothing after it,
// valid UTF-8 and no object with two members of one name, at any depth. It
// returns the members of the outermost object, as they are written; nil when
// the value is no object.
//
// It reads the text once, because SBOMs are long and are checked before every
// launch.
func strict(raw []byte) (map[string]json.RawMessage, error) { return within(raw, len(raw)+1) }

// within is strict for a text of at most so many values: three bytes of a list can
// become a hundred in memory.
func within(raw []byte, values int) (map[string]json.RawMessage, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("text is not UTF-8")
	}
	s := scanner{raw: raw, left: values}
	if err := s.value(0); err != nil {
		return nil, err
	}
	if s.next() != end || s.pos < len(raw) {
		return nil, s.unexpected()
	}
	return s.outer, nil
}

// end is what next returns at the end of the text. A zero byte in the text is
// no JSON, and no place takes it for anything else.
const end = 0

type scanner struct {
	raw   []byte
	pos   int
	left  int // values that may still come
	names int // members of the objects that are open
	outer map[string]json.RawMessage
}

// next skips white space and returns the byte there, without taking it.
func (s *scanner) next() byte {
	for s.pos < len(s.raw) {
		switch c := s.raw[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return end
}

func (s *scanner) unexpected() error {
	if s.pos >= len(s.raw) {
		return errors.New("text ends too early")
	}
	return fmt.Errorf("unexpected %s at byte %d", strconv.QuoteRuneToASCII(rune(s.raw[s.pos])), s.pos)
}

func (s *scanner) value(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if s.left--; s.left < 0 {
		return errors.New("more values than such a text can have")
	}
	switch c := s.next(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		_, err := s.text()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, literal := range [...]string{"true", "false", "null"} {
		if len(s.raw)-s.pos >= len(literal) && string(s.raw[s.pos:s.pos+len(literal)]) == literal {
			s.pos += len(literal)
			return nil
		}
	}
	return s.unexpected()
}

func (s *scanner) object(depth int) error {
	var seen names
	before := s.names
	defer func() { s.names = before }()
	s.pos++
	if s.next() == '}' {
		s.pos++
		return nil
	}
	for {
		if s.next() != '"' {
			return s.unexpected()
		}
		quoted, err := s.text()
		if err != nil {
			return err
		}
		name, err := unquote(quoted)
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return duplicateMember(name)
		}
		if s.names++; s.names > maxNames {
			return fmt.Errorf("more than %d members", maxNames)
		}
		if s.next() != ':' {
			return s.unexpected()
		}
		s.pos++
		s.next()
		start := s.pos
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if depth == 0 {
			if s.outer == nil {
				s.outer = map[string]json.RawMessage{}
			}
			s.outer[name] = s.raw[start:s.pos]
		}
		switch s.next() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.unexpected()
		}
	}
}

func (s *scanner) array(depth int) error {
	s.pos++
	if s.next() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(depth + 1); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.unexpected()
		}
	}
}

// text takes a string, with its quotes.
func (s *scanner) text() ([]byte, error) {
	start := s.pos
	for s.pos++; s.pos < len(s.raw); s.pos++ {
		switch c := s.raw[s.pos]; {
		case c == '"':
			s.pos++
			return s.raw[start:s.pos], nil
		case c == '\\':
			s.pos++
			if s.pos >= len(s.raw) || strings.IndexByte(`"\/bfnrtu`, s.raw[s.pos]) < 0 {
				return nil, s.unexpected()
			}
			if s.raw[s.pos] == 'u' {
				for range 4 {
					if s.pos++; s.pos >= len(s.raw) || !isHex(s.raw[s.pos]) {
						return nil, s.unexpected()
					}
				}
			}
		case c < ' ':
			return nil, s.unexpected()
		}
	}
	return nil, s.unexpected()
}

// number takes a number: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
func (s *scanner) number() error {
	if s.at("-") {
		s.pos++
	}
	if s.at("0") {
		s.pos++
	} else if !s.digits() {
		return s.unexpected()
	}
	if s.at(".") {
		s.pos++
		if !s.digits() {
			return s.unexpected()
		}
	}
	if s.at("eE") {
		s.pos++
		if s.at("+-") {
			s.pos++
		}
		if !s.digits() {
			return s.unexpected()
		}
	}
	return nil
}

// at says whether the next byte is one of these.
func (s *scanner) at(any string) bool {
	return s.pos < len(s.raw) && strings.IndexByte(any, s.raw[s.pos]) >= 0
}

// digits takes digits, and says whether there were some.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.raw) && '0' <= s.raw[s.pos] && s.raw[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unquote is the name that a quoted member name stands for.
func unquote(quoted []byte) (string, error) {
	for _, c := range quoted {
		if c == '\\' {
			var name string
			err := json.Unmarshal(quoted, &name)
			return name, err
		}
	}
	return string(quoted[1 : len(quoted)-1]), nil
}

// names is a set of the member names of one object. Most objects are small.
type names struct {
	few  [8]string
	n    int
	many map[string]bool
}

// add says whether the name is new.
func (s *names) add(name string) bool {
	if s.many == nil {
		for _, n := range s.few[:s.n] {
			if n == name {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = name
			s.n++
			return true
		}
		s.many = make(map[string]bool, 4*len(s.few))
		for _, n := range s.few {
			s.many[n] = true
		}
	}
	if s.many[name] {
		return false
	}
	s.many[name] = true
	return true
}

// elements are the values of a list of at most most, as they are written. The text is
// strict JSON.
func elements(raw json.RawMessage, most int) (all []json.RawMessage, err error) {
	s := scanner{raw: raw, left: len(raw)}
	if s.next() != '[' {
		return nil, errors.New("not a list")
	}
	s.pos++
	for s.next() != ']' {
		if len(all) == most {
			return nil, fmt.Errorf("more than %d", most)
		}
		start := s.pos
		if err := s.value(1); err != nil {
			return nil, err
		}
		all = append(all, raw[start:s.pos])
		if s.next() == ',' {
			s.pos++
			s.next()
		}
	}
	return all, nil
}
