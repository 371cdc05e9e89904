package sbom

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

const (
	magic = "ztlaunch.coverage/v1"
	none  = "-" // an empty sha256
)

// Encode writes a coverage as text, so that a caller may keep it under the
// digests of the document and the tree. One header line, then one line per
// path; fields are separated by one space and the path is quoted as a Go
// string:
//
//	ztlaunch.coverage/v1 LISTED BYPACKAGE
//	unlisted|unhashed|mismatch x|- WANT|- GOT|- "PATH"
//	absent "PATH"
func (c Coverage) Encode() []byte {
	b := fmt.Appendf(nil, "%s %d %d\n", magic, c.Listed, c.ByPackage)
	for _, g := range c.groups() {
		for _, gap := range *g.gaps {
			x := "-"
			if gap.Executable {
				x = "x"
			}
			b = fmt.Appendf(b, "%s %s %s %s %q\n", g.name, x, orNone(gap.Want), orNone(gap.Got), gap.Path)
		}
	}
	for _, p := range c.Absent {
		b = fmt.Appendf(b, "absent %q\n", p)
	}
	return b
}

type group struct {
	name string
	gaps *[]Gap
}

func (c *Coverage) groups() [3]group {
	return [3]group{{"unlisted", &c.Unlisted}, {"unhashed", &c.Unhashed}, {"mismatch", &c.Mismatch}}
}

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// DecodeCoverage reads what Encode wrote, and nothing else: any other spelling of the
// same coverage is refused.
func DecodeCoverage(b []byte) (Coverage, error) {
	var c Coverage
	head, rest, ok := bytes.Cut(b, []byte("\n"))
	f := strings.Split(string(head), " ")
	if !ok || len(f) != 3 || f[0] != magic {
		return Coverage{}, fmt.Errorf("read coverage: header %q", head)
	}
	var err1, err2 error
	c.Listed, err1 = strconv.Atoi(f[1])
	c.ByPackage, err2 = strconv.Atoi(f[2])
	if err1 != nil || err2 != nil || c.Listed < 0 || c.ByPackage < 0 {
		return Coverage{}, fmt.Errorf("read coverage: header %q", head)
	}
	for n := 2; len(rest) > 0; n++ {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if !c.line(string(line)) {
			return Coverage{}, fmt.Errorf("read coverage: line %d", n)
		}
	}
	if !bytes.Equal(c.Encode(), b) {
		return Coverage{}, fmt.Errorf("read coverage: not in canonical form")
	}
	return c, nil
}

func (c *Coverage) line(line string) bool {
	kind, rest, _ := strings.Cut(line, " ")
	if kind == "absent" {
		p, err := strconv.Unquote(rest)
		c.Absent = append(c.Absent, p)
		return err == nil
	}
	for _, g := range c.groups() {
		if g.name != kind {
			continue
		}
		f := strings.SplitN(rest, " ", 4)
		if len(f) != 4 || f[0] != "x" && f[0] != "-" {
			return false
		}
		p, err := strconv.Unquote(f[3])
		*g.gaps = append(*g.gaps, Gap{Path: p, Want: strings.TrimPrefix(f[1], none), Got: strings.TrimPrefix(f[2], none), Executable: f[0] == "x"})
		return err == nil
	}
	return false
}
