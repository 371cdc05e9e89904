package form

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Parse reads a document; file is the name for messages. A document that does
// not parse has an Err and no Root.
func Parse(file string, raw []byte) *Doc {
	d := &Doc{file: file}
	if !d.bytes(raw) {
		return d
	}
	tokens := lexer.Tokenize(string(raw))
	if !d.tokens(tokens) {
		return d
	}
	if tokens = d.join(tokens); d.err != nil {
		return d
	}
	parsed, err := parser.Parse(tokens, 0)
	if err != nil {
		d.syntax(err)
		return d
	}
	if len(parsed.Docs) != 1 || parsed.Docs[0].Body == nil {
		d.fail(1, 1, &reason.Error{Code: reason.FormSyntax, Expected: "one document", Found: fmt.Sprintf("%d", full(parsed.Docs))})
		return d
	}
	d.root = d.node(parsed.Docs[0].Body, 0)
	return d
}

func full(docs []*ast.DocumentNode) (n int) {
	for _, doc := range docs {
		if doc.Body != nil {
			n++
		}
	}
	return n
}

// bytes refuses what no text editor writes.
func (d *Doc) bytes(raw []byte) bool {
	if len(raw) > MaxSize {
		d.fail(1, 1, &reason.Error{Code: reason.FormSyntax, Expected: fmt.Sprintf("at most %d bytes", MaxSize), Found: fmt.Sprintf("%d bytes", len(raw))})
		return false
	}
	line, column := 1, 1
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		switch {
		case r == utf8.RuneError && n == 1, r == 0xfeff, r < 0x20 && r != '\n' && r != '\t' && r != '\r', r >= 0x7f && r < 0xa0:
			d.fail(line, column, &reason.Error{Code: reason.FormSyntax, Expected: "UTF-8 text", Found: fmt.Sprintf("byte 0x%02x", raw[0])})
			return false
		case r == '\n':
			line, column = line+1, 0
		}
		column++
		raw = raw[n:]
	}
	return true
}

// refused are the tokens outside the subset.
func refused(t token.Type) string {
	switch t {
	case token.AnchorType:
		return "an anchor (&)"
	case token.AliasType:
		return "an alias (*)"
	case token.MergeKeyType:
		return "a merge key (<<)"
	case token.TagType:
		return "a tag (!)"
	case token.DirectiveType:
		return "a directive (%)"
	case token.MappingKeyType:
		return "an explicit key (?)"
	case token.DocumentEndType:
		return "a document end (...)"
	case token.InvalidType, token.UnknownType:
		return "a character that cannot start a value"
	}
	return ""
}

// tokens refuses what lies outside the subset, and bounds the nesting before a
// recursive parser sees it.
func (d *Doc) tokens(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		d.fail(1, 1, &reason.Error{Code: reason.FormSyntax, Expected: fmt.Sprintf("at most %d keys, values and marks", maxTokens), Found: fmt.Sprint(len(tokens))})
		return false
	}
	flow, line, entries := 0, 0, 0
	for i, t := range tokens {
		bad := refused(t.Type)
		at := t.Position
		if at.Line != line {
			line, entries = at.Line, 0
		}
		switch t.Type {
		case token.DocumentHeaderType:
			if i > 0 && tokens[i-1].Type != token.CommentType {
				bad = "a second document"
			}
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			entries++
		}
		deep := flow > maxDepth || entries > maxDepth
		switch {
		case bad != "":
			d.fail(at.Line, at.Column, &reason.Error{Code: reason.FormUnsupported, Expected: "plain mappings, lists and values", Found: bad})
			return false
		case deep:
			d.deep(at)
			return false
		}
	}
	return true
}

// join undoes a liberty of the lexer: inside braces it takes "host:443" for a
// key and a value. In YAML (1.2.2, section 7.3.3) a colon that no space follows
// belongs to the plain scalar around it.
func (d *Doc) join(tokens token.Tokens) token.Tokens {
	var out token.Tokens
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		if t.Type != token.MappingValueType || len(out) == 0 || i+1 == len(tokens) || !plain(out[len(out)-1]) {
			out.Add(t)
			continue
		}
		key, value := out[len(out)-1], tokens[i+1]
		if value.Position.Line != t.Position.Line || strings.TrimLeft(value.Origin, " \t\r\n") != value.Origin {
			out.Add(t)
			continue
		}
		switch {
		case value.Type == token.SingleQuoteType || value.Type == token.DoubleQuoteType:
			d.fail(t.Position.Line, t.Position.Column, &reason.Error{Code: reason.FormSyntax, Expected: "a space after the colon", Found: "a quote"})
			return out
		case plain(value):
			text := strings.TrimSpace(key.Origin + ":" + value.Origin)
			out = out[:len(out)-1]
			out.Add(token.String(text, text, key.Position))
			i++
		default:
			out.Add(t)
		}
	}
	return out
}

// plain says whether a token is an unquoted scalar.
func plain(t *token.Token) bool {
	switch t.Type {
	case token.StringType, token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
		token.FloatType, token.BoolType, token.NullType, token.InfinityType, token.NanType:
		return true
	}
	return false
}

func (d *Doc) deep(at *token.Position) {
	d.fail(at.Line, at.Column, &reason.Error{Code: reason.FormUnsupported, Expected: fmt.Sprintf("at most %d levels", maxDepth), Found: "deeper nesting"})
}

// syntax turns the parser's complaint into ours.
func (d *Doc) syntax(err error) {
	line, column, message := 1, 1, err.Error()
	code, expected, next := reason.FormSyntax, "one YAML document", "mend that line"
	var positioned yaml.Error
	if errors.As(err, &positioned) {
		message = positioned.GetMessage()
		if t := positioned.GetToken(); t != nil && t.Position != nil {
			line, column = t.Position.Line, t.Position.Column
		}
	}
	if strings.Contains(message, "already defined") {
		code, expected, next = reason.FormDuplicateKey, "each key once", "remove one of them"
	}
	message, _, _ = strings.Cut(message, "\n")
	d.fail(line, column, &reason.Error{Code: code, Expected: expected, Found: message, Next: next})
}

func (d *Doc) node(n ast.Node, depth int) Node {
	at := n.GetToken().Position
	out := Node{Line: at.Line, Column: at.Column, doc: d}
	if depth++; depth > maxDepth {
		d.deep(at)
		return out
	}
	switch n := n.(type) {
	case *ast.StringNode:
		out.kind, out.value = text, n.Value
	case *ast.LiteralNode:
		out.kind, out.value = text, n.Value.Value
	case *ast.IntegerNode:
		out.kind, out.value = integer, n.GetToken().Value
	case *ast.BoolNode:
		out.kind, out.value = boolean, n.GetToken().Value
	case *ast.FloatNode:
		out.kind, out.value = decimal, n.GetToken().Value
	case *ast.SequenceNode:
		out.kind, out.flow = list, n.IsFlowStyle
		for _, v := range n.Values {
			out.items = append(out.items, d.node(v, depth))
		}
	case *ast.MappingNode:
		out.flow = n.IsFlowStyle
		d.pairs(&out, n.Values, depth)
	case *ast.MappingValueNode:
		d.pairs(&out, []*ast.MappingValueNode{n}, depth)
	case *ast.NullNode:
		d.fail(at.Line, at.Column, &reason.Error{Code: reason.FormValue, Expected: "a value", Found: "nothing"})
	default:
		d.fail(at.Line, at.Column, &reason.Error{Code: reason.FormUnsupported, Expected: "plain mappings, lists and values", Found: n.Type().String()})
	}
	return out
}

func (d *Doc) pairs(out *Node, values []*ast.MappingValueNode, depth int) {
	out.kind = mapping
	if len(values) > 0 && !out.flow {
		at := values[0].Key.GetToken().Position
		out.Line, out.Column = at.Line, at.Column
	}
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		key := d.node(v.Key, depth)
		if key.kind != text && d.err == nil {
			d.fail(key.Line, key.Column, &reason.Error{Code: reason.FormValue, Expected: "a key of text", Found: key.shown()})
		}
		if seen[key.value] {
			d.fail(key.Line, key.Column, &reason.Error{Code: reason.FormDuplicateKey, Expected: "each key once", Found: fmt.Sprintf("%.60q", key.value), Next: "remove one of them"})
		}
		seen[key.value] = true
		out.pairs = append(out.pairs, pair{key, d.node(v.Value, depth)})
	}
}
