package steps

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// closes says whether a rule lets nothing pass that comes to it.
func closes(rule []string) bool {
	return len(rule) == 2 && strings.EqualFold(rule[0], "disallow") && rule[1] == "*"
}

// artifacts applies each step's rules to what its link reports.
func (at place) artifacts(l in_toto.Layout, links map[string]in_toto.Metadata) error {
	for _, s := range l.Steps {
		link, ok := links[s.Name].GetPayload().(in_toto.Link)
		if !ok { // sublayouts were summed up
			return at.refuse(s, reason.InternalFault, "", "a link", "none")
		}
		for _, side := range []struct {
			kind  string
			rules [][]string
			all   map[string]in_toto.HashObj
		}{{"materials", s.ExpectedMaterials, link.Materials}, {"products", s.ExpectedProducts, link.Products}} {
			if len(side.rules) == 0 && len(side.all) > 0 {
				return at.refuse(s, reason.InTotoDisallow, "", "rules for its "+side.kind+" that end in DISALLOW *", fmt.Sprintf("no rule, and %d %s", len(side.all), side.kind))
			}
			for _, rule := range side.rules {
				if p := stray(rule, side.all, links); p != "" {
					return at.refuse(s, reason.InTotoArtifactRule, "", "what lies in the folder of "+clip(strings.Join(rule, " ")), clip(p)+", which lies outside of it")
				}
			}
		}
		if err := in_toto.VerifyArtifacts([]any{s}, links); err != nil {
			return at.refuse(s, reason.InTotoArtifactRule, "", "what its rules allow", clip(err.Error()))
		}
	}
	return nil
}

// stray is an artifact that lies outside of the folder that a MATCH rule names
// with IN, and that in-toto-golang would let the rule consume all the same.
func stray(rule []string, all map[string]in_toto.HashObj, links map[string]in_toto.Metadata) string {
	r, err := in_toto.UnpackRule(rule)
	if err != nil || r["srcPrefix"] == "" {
		return ""
	}
	inside := strings.TrimSuffix(r["srcPrefix"], "/") + "/"
	other, _ := links[r["dstName"]].GetPayload().(in_toto.Link)
	theirs := other.Products
	if r["dstType"] == "materials" {
		theirs = other.Materials
	}
	for _, p := range slices.Sorted(maps.Keys(all)) {
		same, ok := theirs[path.Join(r["dstPrefix"], p)]
		if ok && !strings.HasPrefix(p, inside) && maps.Equal(all[p], same) && len(in_toto.NewSet(p).Filter(r["pattern"])) > 0 {
			return p
		}
	}
	return ""
}

// some names the first few of a list and counts the rest.
func some(all []string) string {
	const shown = 3
	if len(all) == 0 {
		return "none"
	}
	if len(all) <= shown {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:shown], ", "), len(all)-shown)
}

// clip bounds a text that the layout's or a link's makers chose.
func clip(s string) string {
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	s = strings.ToValidUTF8(s, "?")
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
