package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// shown is how many of a list a message names.
const shown = 3

// some names the first few of a list and counts the rest.
func some(all []string) string {
	if len(all) <= shown {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:shown], ", "), len(all)-shown)
}

func list(all []digest.Digest) string {
	if len(all) == 0 {
		return "none"
	}
	var out []string
	for _, d := range all {
		out = append(out, d.String())
	}
	return some(out)
}

func words(all []string) string { return strings.Join(all, ", ") }

func names(by []Identity) []string {
	var out []string
	for _, id := range by {
		out = append(out, id.name)
	}
	return out
}

// filePath shows a path from the artifact: bounded, without control characters.
func filePath(p string) string {
	p = "/" + p
	if len(p) > 200 {
		p = "..." + p[len(p)-200:]
	}
	if quoted := strconv.Quote(p); quoted != `"`+p+`"` {
		return quoted
	}
	return p
}

func quoted(paths []string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, filePath(p))
	}
	return out
}

// clip shows a value that an artifact's makers chose.
func clip(s string) string {
	if s == "" {
		return "none"
	}
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	s = strings.ToValidUTF8(s, "?")
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// written is a value as JSON writes it, which a policy file may hold too.
func written(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "a value that cannot be written"
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// change is the smallest change of the policy that would accept a value which
// was found, or otherwise what else to do; nothing that a file cannot hold is
// proposed.
func change(key, value, otherwise string) string {
	if value == "" || len(value) > 200 || scalar(value) != value {
		return otherwise
	}
	return "if that is right: " + key + ": " + value
}
