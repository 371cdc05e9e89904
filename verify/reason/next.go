package reason

import "strings"

// Expected is what would have been no refusal, where the refusal names nothing closer
// itself.
func (c Code) Expected() string {
	family, _, _ := strings.Cut(string(c), "-")
	switch family {
	case "tar", "layer":
		return "a layer that every reader reads alike, and that stays within the root"
	case "layout":
		return "an OCI layout: a folder with oci-layout, index.json and blobs/"
	case "archive":
		return "a whole archive of an image"
	case "model":
		return "a model folder that can be read"
	case "mount":
		return "a mount that this host can make"
	case "output":
		return "an output that takes all of it"
	case "audit":
		return "an audit log that can be written"
	case "store":
		return "a store that can be read and written"
	case "file":
		return "a file that can be read or written"
	}
	return ""
}

// Word is s as one word of a shell's command line: names and paths are others' text,
// and people paste what a refusal proposes.
func Word(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,-"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Next is what a person can do about a refusal that names nothing closer itself.
func (c Code) Next() string {
	family, _, _ := strings.Cut(string(c), "-")
	switch {
	case c == ImageAbsent:
		return "check the name and the tag; docker images on this host are docker-daemon:NAME"
	case c == FileUnreadable:
		return "name a file that is there and that you may read"
	case c == FileUnwritable:
		return "name a new file in a folder that you may write to"
	case c == LayoutUnreadable, c == ModelUnreadable:
		return "name a folder that is there and that you may read"
	case c == SignatureAbsent:
		return "have it signed: ztlaunch sign --key KEY REF; or vouch for it yourself: ztlaunch adopt REF --as NAME"
	case c == ProvenanceAbsent, c == SBOMAbsent, c == VulnerabilitiesAbsent, c == AttestationAbsent:
		return "have it attested: ztlaunch attest --key KEY --type T --predicate FILE REF"
	case c == SignatureWrongIdentity, c == ProvenanceWrongIdentity, c == SBOMWrongIdentity, c == VulnerabilitiesWrongIdentity, c == AttestationWrongIdentity:
		return "if that signer is right, name it in the policy's identities"
	case c == PolicyNoMatch, c == PolicyAbsent:
		return "ztlaunch policy init REF"
	case c == StoreUnwritable, c == OutputClosed, c == ReportUnwritable:
		return "make room, or name another place, and run it again"
	case family == "registry" || family == "referrers":
		return "try again, or name a mirror: --registry-mirror REGISTRY=MIRROR"
	case family == "yaml":
		return "mend the file at that place"
	case family == "audit":
		return "ztlaunch audit verify"
	}
	switch c.Class() {
	case Denied:
		return "get it again from where it was published; if it stays so, ask its publisher"
	case Usage:
		return "ztlaunch help"
	case CannotTell:
		return "try again when it can be reached and read"
	case Stale:
		return "get a newer one"
	case Host:
		return "ztlaunch doctor"
	}
	return "report it: this is a fault of ztlaunch"
}
