package form

import (
	"strconv"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Value is a value whose shape the writer chooses: string, int64, bool, []any or
// map[string]any of these, an empty list or mapping never nil. A decimal number is
// refused, because two programs need not read it alike.
func (n Node) Value() any {
	switch n.kind {
	case text:
		return n.value
	case integer:
		v, err := strconv.ParseInt(n.value, 10, 64)
		if err != nil || strconv.FormatInt(v, 10) != n.value {
			n.Fail(reason.FormValue, "an integer in decimal, of at most 64 bits", n.shown(), "")
		}
		return v
	case boolean:
		return n.Bool()
	case list:
		out := []any{}
		for _, v := range n.items {
			out = append(out, v.Value())
		}
		return out
	case mapping:
		out := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			out[p.key.value] = p.value.Value()
		}
		return out
	}
	n.Fail(reason.FormValue, "text, an integer, true or false, a list or a mapping", n.shown(), "")
	return nil
}
