package policy

import (
	"strconv"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/form"
)

// place finds a value in the policy's text by a path such as
// images[0].require[1].signature.by: the key in front of it, or the element of a
// list itself. It is the zero Node when there is none.
func (p Policy) place(path string) form.Node {
	key, _ := walk(form.Parse(p.path, p.raw).Root(), path)
	return key
}

// walk follows a path from a node: the place of what it ends at, and its value.
func walk(n form.Node, path string) (place, value form.Node) {
	place, value = n, n
	for step := range strings.SplitSeq(path, ".") {
		name, indices, _ := strings.Cut(step, "[")
		place, value = value.Key(name), value.Get(name)
		if indices == "" {
			continue
		}
		for index := range strings.SplitSeq(strings.TrimSuffix(indices, "]"), "][") {
			i, err := strconv.Atoi(index)
			if err != nil || strconv.Itoa(i) != index {
				return form.Node{}, form.Node{}
			}
			value = value.Item(i)
			place = value
		}
	}
	return place, value
}
