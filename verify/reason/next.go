package reason

import "strings"

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
	case family == "registry" || family == "referrers":
		return "try again, or name a mirror: --registry-mirror REGISTRY=MIRROR"
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
