package sbom

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of arrays and objects.
const maxDepth = 64

// fewKeys is the number of keys up to which an object's keys are compared one
// by one; a larger object is indexed.
const fewKeys = 24

// scan reads one JSON value (RFC 8259) in a single pass. It is stricter than
// encoding/json: an object may not hold one key twice, strings must be valid
// UTF-8 without lone surrogates, and keys match by exact spelling only. The
// first error sticks; every later call does nothing.
type scan struct {
	b     string
	i     int
	depth int
	keys  []string // keys of the open objects, innermost last
	err   error
}

func (s *scan) fail(format string, a ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("byte %d: %s", s.i, fmt.Sprintf(format, a...))
		s.i = len(s.b)
	}
}

// peek is the first byte of the next value, 0 at the end.
func (s *scan) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\n', '\r', '\t':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// next consumes one expected structural byte.
func (s *scan) next(want byte) bool {
	if s.peek() != want || s.i >= len(s.b) {
		s.fail("%q expected", string(want))
		return false
	}
	s.i++
	return true
}

func (s *scan) enter(open byte) bool {
	if !s.next(open) {
		return false
	}
	if s.depth++; s.depth > maxDepth {
		s.fail("nested deeper than %d", maxDepth)
		return false
	}
	return true
}

// more says whether another member or element follows.
func (s *scan) more(first bool, end byte) bool {
	if s.err != nil {
		return false
	}
	if s.peek() == end {
		s.i++
		s.depth--
		return false
	}
	return first || s.next(',')
}

// object calls f for each key; f must consume the value.
func (s *scan) object(f func(key string)) {
	if !s.enter('{') {
		return
	}
	base := len(s.keys)
	var seen map[string]bool
	for first := true; s.more(first, '}'); first = false {
		key := s.text()
		if s.err == nil && s.twice(base, key, &seen) {
			s.fail("key %s appears twice", quote(key))
		}
		if s.err != nil || !s.next(':') {
			break
		}
		s.keys = append(s.keys, key)
		f(key)
	}
	s.keys = s.keys[:base]
}

func (s *scan) twice(base int, key string, seen *map[string]bool) bool {
	if n := len(s.keys) - base; n < fewKeys {
		for _, k := range s.keys[base:] {
			if k == key {
				return true
			}
		}
		return false
	}
	if *seen == nil {
		*seen = make(map[string]bool, 2*fewKeys)
		for _, k := range s.keys[base:] {
			(*seen)[k] = true
		}
	}
	if (*seen)[key] {
		return true
	}
	(*seen)[key] = true
	return false
}

// array calls f for each element; f must consume it.
func (s *scan) array(f func()) {
	if !s.enter('[') {
		return
	}
	for first := true; s.more(first, ']'); first = false {
		f()
	}
}

// str is a string; null and an absent value are "".
func (s *scan) str() string {
	if s.peek() == 'n' {
		s.word("null")
		return ""
	}
	return s.text()
}

// skip consumes and checks one value of any type.
func (s *scan) skip() {
	switch c := s.peek(); {
	case c == '"':
		s.text()
	case c == '{':
		s.object(func(string) { s.skip() })
	case c == '[':
		s.array(s.skip)
	case c == 't':
		s.word("true")
	case c == 'f':
		s.word("false")
	case c == 'n':
		s.word("null")
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	default:
		s.fail("value expected")
	}
}

// end refuses anything but white space after the value.
func (s *scan) end() error {
	if s.err == nil {
		if s.peek(); s.i < len(s.b) {
			s.fail("trailing data")
		}
	}
	return s.err
}

func (s *scan) word(w string) {
	if !strings.HasPrefix(s.b[s.i:], w) {
		s.fail("value expected")
		return
	}
	s.i += len(w)
}

func (s *scan) digits() int {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i - start
}

func (s *scan) number() {
	if s.b[s.i] == '-' {
		s.i++
	}
	lead := s.i
	n := s.digits()
	bad := n == 0 || n > 1 && s.b[lead] == '0'
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		bad = s.digits() == 0 || bad
	}
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		bad = s.digits() == 0 || bad
	}
	if bad {
		s.fail("malformed number")
	}
}

// plain marks the bytes that stand for themselves inside a string.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 256; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// text is a decoded string; without escapes it aliases the input.
func (s *scan) text() string {
	if !s.next('"') {
		return ""
	}
	start := s.i
	for s.i < len(s.b) && plain[s.b[s.i]] {
		s.i++
	}
	if s.i >= len(s.b) {
		s.fail("string without end")
		return ""
	}
	raw := s.b[start:s.i]
	if s.b[s.i] != '"' {
		raw = string(s.escaped(start))
		if s.err != nil {
			return ""
		}
	}
	s.i++
	if !utf8.ValidString(raw) {
		s.fail("string is not UTF-8")
		return ""
	}
	return raw
}

// escaped decodes a string that holds at least one escape, from start up to
// its closing quote.
func (s *scan) escaped(start int) []byte {
	out := []byte(s.b[start:s.i])
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			return out
		case c < 0x20:
			s.fail("control character in a string")
			return nil
		case c != '\\':
			out = append(out, c)
			s.i++
		default:
			var err error
			if out, err = s.escape(out); err != nil {
				s.fail("%v", err)
				return nil
			}
		}
	}
	s.fail("string without end")
	return nil
}

const (
	escapes = `"\/bfnrt`
	meaning = "\"\\/\b\f\n\r\t"
)

var errEscape = errors.New("malformed escape")

func (s *scan) escape(out []byte) ([]byte, error) {
	if s.i+1 >= len(s.b) {
		return nil, errEscape
	}
	if k := strings.IndexByte(escapes, s.b[s.i+1]); k >= 0 {
		s.i += 2
		return append(out, meaning[k]), nil
	}
	r, err := s.unit()
	if err != nil {
		return nil, err
	}
	if utf16.IsSurrogate(r) {
		low, err := s.unit()
		if err != nil {
			return nil, err
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return nil, errors.New("lone surrogate")
		}
	}
	return utf8.AppendRune(out, r), nil
}

// unit reads \uXXXX.
func (s *scan) unit() (rune, error) {
	if s.i+6 > len(s.b) || s.b[s.i] != '\\' || s.b[s.i+1] != 'u' {
		return 0, errEscape
	}
	n, err := strconv.ParseUint(s.b[s.i+2:s.i+6], 16, 16)
	if err != nil {
		return 0, errEscape
	}
	s.i += 6
	return rune(n), nil
}

// quote shows a key in a message, bounded and without control characters.
func quote(key string) string {
	if len(key) > 40 {
		return strconv.Quote(key[:40]) + "..."
	}
	return strconv.Quote(key)
}
