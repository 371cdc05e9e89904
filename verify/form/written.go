package form

import (
	"encoding/json"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// JSON is the value as JSON (RFC 8259), keys in the order of the document. A
// number that JSON cannot hold as it is written fails.
func (n Node) JSON() json.RawMessage {
	var b strings.Builder
	n.json(&b)
	if n.dead() {
		return nil
	}
	return json.RawMessage(b.String())
}

func (n Node) json(b *strings.Builder) {
	between := func(i int) {
		if i > 0 {
			b.WriteByte(',')
		}
	}
	switch n.kind {
	case text:
		quote(b, n.value)
	case list:
		b.WriteByte('[')
		for i, v := range n.items {
			between(i)
			v.json(b)
		}
		b.WriteByte(']')
	case mapping:
		b.WriteByte('{')
		for i, p := range n.pairs {
			between(i)
			quote(b, p.key.value)
			b.WriteByte(':')
			p.value.json(b)
		}
		b.WriteByte('}')
	default:
		if !json.Valid([]byte(n.value)) {
			n.Fail(reason.FormValue, "a number as JSON writes it", n.shown(), "")
		}
		b.WriteString(n.value)
	}
}

func quote(b *strings.Builder, s string) {
	raw, _ := json.Marshal(s) // a string always encodes
	b.Write(raw)
}

// IsMap reports whether the node is a mapping, without failing.
func (n Node) IsMap() bool { return n.kind == mapping }

// Key is the key itself of a mapping's entry, for its place; the zero Node, on
// which nothing fails, when there is none.
func (n Node) Key(name string) Node { return n.entry(name).key }

// Get is the value of a mapping's entry, or the zero Node.
func (n Node) Get(name string) Node { return n.entry(name).value }

func (n Node) entry(name string) pair {
	for _, p := range n.pairs {
		if p.key.value == name {
			return p
		}
	}
	return pair{}
}

// Item is an element of a list, or the zero Node.
func (n Node) Item(i int) Node {
	if i < 0 || i >= len(n.items) {
		return Node{}
	}
	return n.items[i]
}
