package policy

import (
	"fmt"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Signer is who must have signed, as cosign's flags say it: --key, or
// --certificate-identity with --certificate-oidc-issuer or --certificate-chain.
// The name is compared as it is, without patterns.
type Signer struct {
	Key       trust.Key
	Authority trust.Authority
	Issuer    string
	SAN       string
}

// block is the signer as an identity of a policy file.
func (by Signer) block() (string, error) {
	switch {
	case !by.Key.Zero():
		return "  signer:\n" + keyBlock(by.Key, "    "), nil
	case strings.Contains(by.SAN, "*"):
		return "", &reason.Error{Code: reason.PolicyPattern, What: "read --certificate-identity", Expected: "one exact name", Found: fmt.Sprintf("%.80q", by.SAN),
			Next: "write the pattern into a policy: --policy FILE"}
	case !by.Authority.Zero():
		kind := sanType(by.SAN)
		if kind == "other" {
			kind = "dns"
		}
		return "  signer:\n    certificate:\n      kind: " + kind + "\n      san: " + scalar(by.SAN) + "\n" +
			pemBlock("authority", by.Authority.PEM(), "      "), nil
	}
	return "  signer: {keyless: " + Keyless{Issuer: by.Issuer, Kind: sanType(by.SAN), SAN: by.SAN}.flow() + "}\n", nil
}

// commandLine is the path of a policy that no file holds.
const commandLine = "command line"

// OneRun is the policy of one command: each of the named artifacts must be
// signed by this signer, and nothing else is admitted. Its Text is a policy
// file, its Path is "command line".
func OneRun(by Signer, refs ...artifact.Reference) (Policy, error) {
	var b strings.Builder
	b.WriteString("version: 1\nidentities:\n")
	who, err := by.block()
	if err != nil {
		return Policy{}, err
	}
	b.WriteString(who)
	seen := map[string]bool{}
	for i, kind := range kinds {
		head := sections[i] + ":\n"
		for _, ref := range refs {
			name := ref.Name()
			if ref.Kind() != kind || seen[kind.String()+" "+name] {
				continue
			}
			if name == "" {
				return Policy{}, &reason.Error{Code: reason.InitName, What: "make a policy for " + ref.String(), Expected: "a name", Found: "none", Next: "--as NAME"}
			}
			seen[kind.String()+" "+name] = true
			fmt.Fprintf(&b, "%s  - {match: %s, require: [{signature: {by: [signer]}}]}\n", head, scalar(name))
			head = ""
		}
	}
	return Parse([]byte(b.String()), commandLine, nil)
}

// keyBlock is the key: entry of an identity, the PEM text in the file itself.
func keyBlock(k trust.Key, indent string) string { return pemBlock("key", k.PEM(), indent) }

func pemBlock(name string, pem []byte, indent string) string {
	var b strings.Builder
	b.WriteString(indent + name + ": |\n")
	for line := range strings.Lines(string(pem)) {
		b.WriteString(indent + "  " + line)
	}
	return b.String()
}
