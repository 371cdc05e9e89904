package policy

import (
	"fmt"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Signer is who must have signed, as cosign's flags say it: --key, or
// --certificate-identity with --certificate-oidc-issuer.
type Signer struct {
	Key    trust.Key
	Issuer string
	SAN    string
}

// commandLine is the path of a policy that no file holds.
const commandLine = "command line"

// OneRun is the policy of one command: each of the named artifacts must be
// signed by this signer, and nothing else is admitted. Its Text is a policy
// file, its Path is "command line".
func OneRun(by Signer, refs ...artifact.Reference) (Policy, error) {
	var b strings.Builder
	b.WriteString("version: 1\nidentities:\n")
	if by.Key.Zero() {
		fmt.Fprintf(&b, "  signer: {keyless: %s}\n", Keyless{Issuer: by.Issuer, SAN: by.SAN}.flow())
	} else {
		b.WriteString("  signer:\n" + keyBlock(by.Key, "    "))
	}
	seen := map[string]bool{}
	for i, kind := range kinds {
		head := sections[i] + ":\n"
		for _, ref := range refs {
			name := ref.Name()
			if ref.Kind() != kind || seen[kind.String()+" "+name] {
				continue
			}
			if name == "" {
				return Policy{}, &reason.Error{Code: reason.InitName, What: "make a policy for " + ref.String(), Expected: "a name", Found: "none", Next: "--name NAME"}
			}
			seen[kind.String()+" "+name] = true
			fmt.Fprintf(&b, "%s  - {match: %s, require: [{signature: {by: [signer]}}]}\n", head, scalar(name))
			head = ""
		}
	}
	return Parse([]byte(b.String()), commandLine, nil)
}

// keyBlock is the key: entry of an identity, the PEM text in the file itself.
func keyBlock(k trust.Key, indent string) string {
	var b strings.Builder
	b.WriteString(indent + "key: |\n")
	for line := range strings.Lines(string(k.PEM())) {
		b.WriteString(indent + "  " + line)
	}
	return b.String()
}
