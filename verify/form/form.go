// Package form reads the files that people write for ztlaunch (policies, locks,
// tasks): a strict subset of YAML 1.2, with the line of every value at hand.
//
// The subset: one document (a leading "---" is allowed) of mappings, sequences
// and scalars, in block or flow style, with comments. Keys are strings. Refused
// are anchors, aliases, merge keys, tags, directives, explicit "? key" entries,
// a second document, a key that appears twice, null values, control characters,
// a byte-order mark and anything but UTF-8; a document is at most 1 MiB and
// 50,000 tokens, nested at most 16 deep. A scalar is text, an integer or true/false; nothing converts
// between them, so `ref: 1.0` is refused where text is wanted and must be
// quoted.
//
// Errors stick: the first one is kept, with file, line and column, and every
// later read of the same document yields zero values. A caller reads everything
// and asks Err once.
//
// The package does not know what any key means.
package form

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// MaxSize is the largest document, in bytes.
const MaxSize = 1 << 20

// maxTokens bounds the work of the parser, which grows faster than the number
// of keys in one mapping.
const maxTokens = 50000

// maxDepth bounds the nesting of mappings and sequences.
const maxDepth = 16

type kind uint8

const (
	text kind = iota + 1
	integer
	boolean
	decimal
	list
	mapping
)

var kinds = map[kind]string{text: "text", integer: "an integer", boolean: "true or false", decimal: "a number", list: "a list", mapping: "a mapping"}

// Node is one value of a document and the place where it stands.
type Node struct {
	Line, Column int // from 1

	doc   *Doc
	kind  kind
	flow  bool // written in [] or {}
	value string
	items []Node
	pairs []pair
}

type pair struct {
	key   Node
	value Node
}

// Doc is one document.
type Doc struct {
	file string
	root Node
	err  *reason.Error
}

// Root is the document's value.
func (d *Doc) Root() Node { return d.root }

// Err is the first error met in parsing or reading.
func (d *Doc) Err() error {
	if d.err == nil {
		return nil
	}
	return d.err
}

// Fail records an error at the node, unless there is one already.
func (n Node) Fail(code reason.Code, expected, found, next string) {
	if n.dead() {
		return
	}
	n.doc.fail(n.Line, n.Column, &reason.Error{Code: code, Expected: expected, Found: found, Next: next})
}

func (d *Doc) fail(line, column int, e *reason.Error) {
	if d.err == nil {
		e.What = fmt.Sprintf("read %s:%d:%d", d.file, line, column)
		d.err = e
	}
}

// dead says that the document was given up.
func (n Node) dead() bool { return n.doc == nil || n.doc.err != nil }

// is checks the node's kind.
func (n Node) is(k kind) bool {
	if n.dead() {
		return false
	}
	if n.kind != k {
		next := ""
		if k == text && n.kind != list && n.kind != mapping {
			next = fmt.Sprintf("write %q in quotes", n.value)
		}
		n.Fail(reason.FormValue, kinds[k], n.shown(), next)
		return false
	}
	return true
}

func (n Node) shown() string {
	if n.kind == list || n.kind == mapping {
		return kinds[n.kind]
	}
	return fmt.Sprintf("%.60q", n.value)
}

// Text is a string.
func (n Node) Text() string {
	if !n.is(text) {
		return ""
	}
	return n.value
}

// IsText reports whether the node is a string, without failing.
func (n Node) IsText() bool { return n.kind == text }

// IsList reports whether the node is a list, without failing.
func (n Node) IsList() bool { return n.kind == list }

// OneOf is a string out of a fixed set.
func (n Node) OneOf(words ...string) string {
	t := n.Text()
	if !n.dead() && !slices.Contains(words, t) {
		n.Fail(reason.FormValue, strings.Join(words, " or "), n.shown(), "")
		return ""
	}
	return t
}

// Flow reports whether a list or mapping is written in brackets or braces; Line
// and Column are then those of the opening one.
func (n Node) Flow() bool { return n.flow }

// Texts is a list of strings without repetition; never nil once it was read,
// so that an empty list differs from an absent one.
func (n Node) Texts() []string {
	out := []string{}
	n.List(func(_ int, v Node) {
		t := v.Text()
		if slices.Contains(out, t) {
			v.Fail(reason.FormValue, "each entry once", v.shown(), "")
		}
		out = append(out, t)
	})
	return out
}

// List calls f for each element.
func (n Node) List(f func(i int, v Node)) {
	if !n.is(list) {
		return
	}
	for i, v := range n.items {
		f(i, v)
	}
}

// Map calls f for each entry of a mapping whose keys are the writer's choice.
func (n Node) Map(f func(key, value Node)) {
	if !n.is(mapping) {
		return
	}
	for _, p := range n.pairs {
		f(p.key, p.value)
	}
}

// Fields reads a mapping with fixed keys: any other key is refused.
func (n Node) Fields(known map[string]func(Node)) {
	n.Map(func(key, value Node) {
		read, ok := known[key.value]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			next := ""
			if near := nearest(key.value, names); near != "" {
				next = "write " + near
			}
			key.Fail(reason.FormUnknownKey, "one of "+strings.Join(names, ", "), fmt.Sprintf("%.60q", key.value), next)
			return
		}
		read(value)
	})
}

// Has reports whether a mapping holds a key.
func (n Node) Has(key string) bool {
	return slices.ContainsFunc(n.pairs, func(p pair) bool { return p.key.value == key })
}

// Need refuses a mapping that lacks one of the keys.
func (n Node) Need(keys ...string) {
	for _, k := range keys {
		if !n.dead() && !n.Has(k) {
			n.Fail(reason.FormMissingKey, k, "no such key here", "add "+k+":")
		}
	}
}

// nearest is the known name within an edit distance of two, or "".
func nearest(name string, names []string) string {
	best, found := 3, ""
	for _, n := range names {
		if d := distance(name, n); d < best {
			best, found = d, n
		}
	}
	return found
}

// distance is the Levenshtein distance, capped by refusing long names.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
