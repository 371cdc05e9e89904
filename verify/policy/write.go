package policy

import (
	"encoding/json"
	"strings"
)

// flow writes certificate fields as a YAML flow mapping, in the order in which
// a file should list them.
func (k Keyless) flow() string {
	var parts []string
	for _, f := range k.fields() {
		v := f.value
		if f.name == "repository" && k.Issuer == githubIssuer {
			if short, ok := strings.CutPrefix(v, "https://github.com/"); ok && strings.Count(short, "/") == 1 && !strings.Contains(short, ":") {
				v = short
			}
		}
		if v != "" {
			parts = append(parts, f.name+": "+scalar(v))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// scalar writes text as YAML: plain where nothing could be read into it, else
// in double quotes as JSON writes it, which YAML 1.2 reads alike.
func scalar(s string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./@:+"
	letters := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ./"
	plain := s != "" && strings.Trim(s, safe) == "" && strings.ContainsRune(letters, rune(s[0])) &&
		!strings.HasSuffix(s, ":") && (s[0] != '.' || strings.Contains(s, "/"))
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}
