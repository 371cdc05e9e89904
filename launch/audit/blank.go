package audit

import "regexp"

// secrets are shapes that are credentials and hardly anything else. A record
// never holds one even when an error text or an operator's note quoted it.
var secrets = regexp.MustCompile(
	`-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(-----END [A-Z ]*PRIVATE KEY-----)?` +
		`|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}` +
		`|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bnpm_[A-Za-z0-9]{30,}` +
		`|\b(AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}` +
		`|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}` +
		`|(?i:\b(bearer|basic) [A-Za-z0-9+/._~-]{12,}=*)`)

// login is user:password@ in a URL.
var login = regexp.MustCompile(`://[^/\s:@]*:[^/\s@]+@`)

// blank replaces what looks like a credential.
func blank(s string) string {
	return login.ReplaceAllString(secrets.ReplaceAllString(s, "[blanked]"), "://[blanked]@")
}
