package evidence

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth caps how deep a statement may nest.
const maxDepth = 256

// duplicateKey says which member an object has twice.
type duplicateKey string

func (k duplicateKey) Error() string { return fmt.Sprintf("member %q is given twice", string(k)) }

// strict holds a JSON text (RFC 8259) to the I-JSON rules (RFC 7493) that two
// parsers could otherwise disagree about: one value and nothing after it,
// valid UTF-8 and no object with two members of one name, at any depth.
func strict(raw []byte) error {
	switch {
	case !utf8.Valid(raw):
		return fmt.Errorf("text is not UTF-8")
	case !json.Valid(raw):
		return fmt.Errorf("text is not one JSON value")
	}
	s := scanner{raw: raw}
	return s.value(0)
}

// scanner walks a text that is known to be valid JSON.
type scanner struct {
	raw []byte
	pos int
}

// next skips white space and returns the byte there, without taking it.
func (s *scanner) next() byte {
	for s.raw[s.pos] == ' ' || s.raw[s.pos] == '\t' || s.raw[s.pos] == '\n' || s.raw[s.pos] == '\r' {
		s.pos++
	}
	return s.raw[s.pos]
}

func (s *scanner) value(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch s.next() {
	case '{':
		return s.object(depth)
	case '[':
		return s.array(depth)
	case '"':
		s.text()
	default: // a number or a literal
		for s.pos < len(s.raw) && strings.IndexByte(",]} \t\n\r", s.raw[s.pos]) < 0 {
			s.pos++
		}
	}
	return nil
}

func (s *scanner) object(depth int) error {
	var few [8]string // most objects are small
	seen := few[:0]
	var many map[string]bool
	s.pos++
	for s.next() != '}' {
		name, err := member(s.text())
		if err != nil {
			return err
		}
		if many == nil && len(seen) == cap(few[:]) {
			many = make(map[string]bool, 2*len(seen))
			for _, n := range seen {
				many[n] = true
			}
		}
		if many != nil {
			if many[name] {
				return duplicateKey(name)
			}
			many[name] = true
		} else {
			for _, n := range seen {
				if n == name {
					return duplicateKey(name)
				}
			}
			seen = append(seen, name)
		}
		s.next() // the colon
		s.pos++
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if s.next() == ',' {
			s.pos++
		}
	}
	s.pos++
	return nil
}

func (s *scanner) array(depth int) error {
	s.pos++
	for s.next() != ']' {
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if s.next() == ',' {
			s.pos++
		}
	}
	s.pos++
	return nil
}

// text takes a string, with its quotes.
func (s *scanner) text() []byte {
	start := s.pos
	for s.pos++; s.raw[s.pos] != '"'; s.pos++ {
		if s.raw[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
	return s.raw[start:s.pos]
}

// member is the name that a quoted member name stands for.
func member(quoted []byte) (string, error) {
	for _, c := range quoted {
		if c == '\\' {
			var name string
			if err := json.Unmarshal(quoted, &name); err != nil {
				return "", fmt.Errorf("member name %s: %w", strconv.Quote(string(quoted)), err)
			}
			return name, nil
		}
	}
	return string(quoted[1 : len(quoted)-1]), nil
}
