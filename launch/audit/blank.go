package audit

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// secrets are shapes that are credentials and hardly anything else. A record
// never holds one even when an error text or an operator's note quoted it.
var secrets = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(
		`-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(-----END [A-Z ]*PRIVATE KEY-----)?` +
			`|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}` +
			`|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bnpm_[A-Za-z0-9]{30,}` +
			`|\b(AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}` +
			`|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}` +
			`|(?i:\b(bearer|basic) [A-Za-z0-9+/._~-]{12,}=*)` +
			`|://[^/\s:@]*:[^/\s@]+@`)
})

// marks are parts, in lower case, of which every secret has one. Nearly no text
// has any, so that nearly no launch compiles the expression.
var marks = []string{"-----begin ", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "xox", "npm_",
	"akia", "asia", "aiza", "eyj", "bearer ", "basic ", "@"}

// blank replaces what looks like a credential.
func blank(s string) string {
	low := strings.ToLower(s)
	if !slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(low, m) }) {
		return s
	}
	return secrets().ReplaceAllStringFunc(s, func(found string) string {
		if strings.HasPrefix(found, "://") { // user:password@ in a URL
			return "://[blanked]@"
		}
		return "[blanked]"
	})
}
