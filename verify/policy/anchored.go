package policy

import (
	"slices"
	"strings"
)

// plainFault says why a value can stand in no certificate field of a policy.
func plainFault(s string) string {
	switch {
	case s == "":
		return "nothing"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "white space or a control character"
	case strings.Contains(s, "**"):
		return "**, which stands for whole components of names only,"
	}
	return ""
}

// lint says what a field's pattern must look like, if it does not: every pattern
// keeps the part that says whose it is.
func (k Keyless) lint(name, value string) (expected, next string) {
	switch name {
	case "san":
		return lintSAN(value, k.Kind)
	case "repository":
		if !anchoredURL(value, 1) || strings.HasSuffix(value, "/") || strings.Contains(value, "@") ||
			k.github() && (!strings.HasPrefix(value, "https://github.com/") || strings.Count(value, "/") != 4) {
			return "the repository's URL, scheme, host and on a forge the owner without * (OWNER/REPO only for " + githubIssuer + ")", ""
		}
	case "workflow":
		if k.github() && !strings.HasPrefix(value, githubFlows) || strings.HasPrefix(value, "*") || strings.HasPrefix(value, "@") {
			return "the workflow's path, on GitHub from " + githubFlows + " on, elsewhere not beginning with *", "write " + githubFlows + "release.yml"
		}
	case "ref":
		if !refPattern(value) {
			return "refs/tags/PATTERN or refs/heads/PATTERN", "write refs/tags/v*"
		}
	case "signer":
		if !signerPattern(value) {
			return "the signing workflow as URL@refs/tags/PATTERN, @refs/heads/PATTERN or @COMMIT, its folder without *", ""
		}
	case "trigger", "runner":
		if strings.HasPrefix(value, "*") {
			return "a word that does not begin with *", "leave " + name + " out where any will do"
		}
	}
	return "", ""
}

// github says whether GitHub issued the certificates, or keeps the repository.
func (k Keyless) github() bool {
	return k.Issuer == githubIssuer || strings.HasPrefix(k.Issuer, githubIssuer+"/") || strings.HasPrefix(k.Repository, "https://github.com/")
}

// exact says whether a policy file can hold the fields, and means just them by it.
func (k Keyless) exact() bool {
	for _, f := range k.fields() {
		if f.value == "" {
			continue
		}
		if expected, _ := k.lint(f.name, f.value); expected != "" || plainFault(f.value) != "" || strings.Contains(f.value, "*") {
			return false
		}
	}
	return k.SAN != "" || k.Workflow != ""
}

// githubFlows is where GitHub finds workflows.
const githubFlows = ".github/workflows/"

// forges are hosts where anybody can be an owner.
var forges = [...]string{"github.com", "gitlab.com", "codeberg.org", "bitbucket.org", "gitea.com", "git.sr.ht", "dev.azure.com"}

// anchoredURL says whether a URL's scheme and host are without "*", and on a
// forge as many of the first components of the path.
func anchoredURL(s string, owner int) bool {
	if !strings.Contains(s, "*") {
		scheme, rest, ok := strings.Cut(s, "://")
		return ok && scheme != "" && rest != "" && rest[0] != '/'
	}
	scheme, rest, ok := strings.Cut(s, "://")
	host, path, slash := strings.Cut(rest, "/")
	if !ok || !slash || scheme == "" || host == "" || strings.ContainsAny(scheme+host, "*@?#%\\") {
		return false
	}
	bare, _, _ := strings.Cut(strings.ToLower(host), ":")
	if !slices.Contains(forges[:], strings.TrimSuffix(bare, ".")) {
		return true
	}
	for range owner {
		var first string
		if first, path, slash = strings.Cut(path, "/"); !slash || first == "" || strings.Contains(first, "*") {
			return false
		}
	}
	return true
}

// lintSAN is the lint of a certificate's name.
func lintSAN(value, kind string) (expected, next string) {
	star := strings.Contains(value, "*")
	switch kind {
	case "uri":
		if !strings.Contains(value, "://") || star && !(anchoredURL(value, 1) && anchoredFlow(value) && strings.Count(value, "@") < 2) {
			return "a URI, scheme, host and on a forge the owner without *; of a workflow on GitHub also " + githubFlows + " and @refs/tags/ or @refs/heads/", ""
		}
	case "email":
		local, domain, ok := strings.Cut(value, "@")
		if !ok || local == "" || domain == "" || strings.ContainsAny(domain, "*@/") {
			return "an e-mail address, its domain without *", "write *@acme.example for anybody there"
		}
	case "dns":
		labels := strings.Split(value, ".")
		if slices.Contains(labels, "") || star && (len(labels) < 3 || strings.Contains(strings.Join(labels[len(labels)-2:], ""), "*")) {
			return "a host's name, its last two labels without *", "write *.ci.acme.example"
		}
	case "other":
		if star {
			return "the exact name: only those of kind uri, email and dns take *", ""
		}
	}
	return "", ""
}

// anchoredFlow says whether a pattern for a name on github.com keeps what Fulcio
// writes there: OWNER/REPO/.github/workflows/FILE@REF.
func anchoredFlow(s string) bool {
	rest, ok := strings.CutPrefix(s, "https://github.com/")
	if !ok {
		return true
	}
	parts := strings.SplitN(rest, "/", 5)
	if len(parts) != 5 || parts[2]+"/"+parts[3]+"/" != githubFlows {
		return false
	}
	file, ref, ok := strings.Cut(parts[4], "@")
	return ok && file != "" && !strings.Contains(file, "/") && anchoredRef(ref)
}

func anchoredRef(ref string) bool {
	return refPattern(ref) || len(ref) == 40 && strings.Trim(ref, "0123456789abcdef") == ""
}

// refPattern accepts tags and branches, never a pull request's ref: anybody can
// open one.
func refPattern(s string) bool {
	name, ok := strings.CutPrefix(s, "refs/tags/")
	if !ok {
		name, ok = strings.CutPrefix(s, "refs/heads/")
	}
	return ok && name != "" && !strings.ContainsAny(name, " \t\n?[]\\^~:@") && !strings.Contains(name, "**") && !strings.Contains(name, "//")
}

// signerPattern accepts URL@REF: the URL's folder is without "*" where the URL
// is, the file may hold one.
func signerPattern(s string) bool {
	url, ref, ok := strings.Cut(s, "@")
	return ok && strings.HasPrefix(url, "https://") && anchoredURL(url, 2) && anchoredRef(ref) &&
		(!strings.Contains(url, "*") || !strings.HasPrefix(url, "https://github.com/") || anchoredFlow(s))
}

// sanFits compares a certificate's name with a pattern of its kind.
func sanFits(pattern, kind, found string) bool {
	switch kind {
	case "uri":
		if at := strings.Index(pattern, "@refs/"); at >= 0 && strings.Contains(pattern, "*") {
			return atRef(pattern, found)
		}
		return globName(pattern, found)
	case "email":
		return globOf(pattern, found, func(c byte) bool { return nameByte(c) && c != '"' })
	case "dns":
		return globOf(pattern, found, func(c byte) bool { return nameByte(c) && c != '.' })
	}
	return pattern == found
}

// atRef compares URL@REF, each side by itself. The border is the first "@",
// which no pattern of a URL can hold or run over, so one in what was found
// cannot move it.
func atRef(want, got string) bool {
	url, ref, ok := strings.Cut(want, "@")
	if !ok {
		return false
	}
	gotURL, gotRef, ok := strings.Cut(got, "@")
	return ok && gotRef != "" && globName(url, gotURL) && glob(ref, gotRef)
}

// sanType is the kind of certificate name that a text can only be.
func sanType(san string) string {
	switch {
	case strings.Contains(san, "://"):
		return "uri"
	case strings.Contains(san, "@"):
		return "email"
	}
	return "other"
}
