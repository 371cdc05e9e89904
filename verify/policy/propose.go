package policy

import (
	"path"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Proposal is the command that proposes a rule for what a reference names. key is the
// public key file of who signed it, "" for a certificate.
func Proposal(ref artifact.Reference, key string) string {
	words := "ztlaunch policy init "
	if key != "" {
		words += "--key " + reason.Word(key) + " "
	}
	if ref.Kind() == artifact.MCP {
		words += "--kind server "
	}
	words += reason.Word(ref.String())
	if name := ref.Name(); ref.Path() != "" && name != "" {
		base := strings.ToLower(path.Base(ref.Path()))
		if base = strings.TrimSuffix(base, path.Ext(base)); strings.TrimPrefix(name, "localhost/") != base {
			words += " --as " + reason.Word(name) // else it is what it is called without
		}
	}
	return words
}

// unmatched is what helps a name that no rule matches.
func (e *evaluation) unmatched() string {
	ref := e.in.Artifact.Ref()
	for _, from := range e.in.Places {
		if from == "adopt" && ref.Scheme() == artifact.Registry {
			return "leave --policy out: it was adopted, and the rule and the key for it are in the policy that adopt wrote; or copy them from there"
		}
	}
	return e.policy.or(ref, Proposal(ref, e.keyFile()))
}

// or is next, after the name by which the rules know a model, where they seem to.
func (p Policy) or(ref artifact.Reference, next string) string {
	if as := p.alias(ref); as != "" {
		return "--as " + as + ", if that is what the policy calls it; or " + next
	}
	return next
}

// keyFile is where the key lies that proved a signature: its file, FILE where the policy
// holds it itself, "" where no key proved one.
func (e *evaluation) keyFile() string {
	for _, c := range e.in.Claims {
		if c.Signer().Key == "" || c.PredicateType() != signatureType(e.in.Artifact.Kind()) {
			continue
		}
		i := slices.IndexFunc(e.policy.identities, func(id Identity) bool { return id.key.ID() == c.Signer().Key })
		if i < 0 || e.policy.identities[i].file == "" {
			return "FILE"
		}
		return e.policy.identities[i].file
	}
	return ""
}

// alias is a name for a model's folder that a rule matches, made of where the folder
// lies or of what the rule says before the last name; "" for none.
func (p Policy) alias(ref artifact.Reference) string {
	if ref.Kind() != artifact.Model {
		return ""
	}
	at := strings.Split(strings.Trim(path.Clean(ref.Path()), "/"), "/")
	var names []string
	for i := range at {
		names = append(names, strings.Join(at[i:], "/"))
	}
	for _, r := range p.rules {
		names = append(names, path.Join(path.Dir(string(r.match)), path.Base(ref.Name())))
	}
	for _, name := range names {
		if artifact.CheckName(artifact.Model, name) != nil {
			continue
		}
		for _, r := range p.rules {
			if r.kind == artifact.Model && r.match.matches(name) {
				return name
			}
		}
	}
	return ""
}
