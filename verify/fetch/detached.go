package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Detached reads files of evidence: one bundle each, or one bundle per line. A
// file that cannot be read is evidence-unreadable, one over 32 MiB
// evidence-too-large, and one of more than 1000 bundles evidence-too-many. A file
// that is neither form is one attachment, which proves nothing.
func Detached(paths ...string) ([]Attachment, error) {
	var all []Attachment
	for _, path := range paths {
		raw, err := readFile(path, MaxEvidence)
		bundles, err := bundlesOf(path, raw, err)
		if err != nil {
			return nil, err
		}
		for _, raw := range bundles {
			all = append(all, Attachment{Where: File, From: path, Digest: digest.FromBytes(raw), MediaType: bundleType + "+json", Raw: raw})
		}
	}
	return all, nil
}

// bundlesOf parts what was read of a file of evidence, if it was.
func bundlesOf(path string, raw []byte, err error) ([][]byte, error) {
	if err != nil {
		code := reason.EvidenceUnreadable
		if errors.Is(err, errTooLarge) {
			code = reason.EvidenceTooLarge
		}
		return nil, &reason.Error{Code: code, What: "read evidence " + path,
			Expected: fmt.Sprintf("a readable file of at most %d bytes", MaxEvidence), Err: err}
	}
	bundles := split(raw)
	if len(bundles) > maxReferrers {
		return nil, refuse(reason.EvidenceTooMany, "read evidence "+path, fmt.Sprintf("at most %d bundles", maxReferrers), fmt.Sprint(len(bundles)))
	}
	return bundles, nil
}

// Appended is what a file of evidence is to hold once a bundle was added to it: what
// Detached reads from it now, byte for byte where a bundle has a line of its own, and
// the bundle as the last line. The file need not be there yet, and is no link. Its bounds are
// Detached's, and what is no JSON in it is refused as evidence-unreadable.
func Appended(path string, bundle []byte) ([]byte, error) {
	what := "add to evidence " + path
	var had [][]byte
	// What is read will lie open to everybody: no link to what does not is followed.
	if f, err := file.Plain(path, os.O_RDONLY); !errors.Is(err, fs.ErrNotExist) {
		var raw []byte
		if err == nil {
			raw, err = readAll(f, MaxEvidence)
		}
		if had, err = bundlesOf(path, raw, err); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	for _, line := range append(had, bundle) {
		line = bytes.TrimSpace(line)
		if !bytes.HasPrefix(line, []byte("{")) || content.CheckJSON("line", line) != nil {
			return nil, refuse(reason.EvidenceUnreadable, what, "bundles, one per line", "something else")
		}
		if bytes.IndexByte(line, '\n') >= 0 {
			if err := json.Compact(&out, line); err != nil {
				return nil, refuse(reason.EvidenceUnreadable, what, "bundles, one per line", err.Error())
			}
		} else {
			out.Write(line)
		}
		out.WriteByte('\n')
	}
	if out.Len() > MaxEvidence {
		return nil, refuse(reason.EvidenceTooLarge, what, fmt.Sprintf("at most %d bytes", MaxEvidence), fmt.Sprint(out.Len()))
	}
	if len(had) == maxReferrers {
		return nil, refuse(reason.EvidenceTooMany, what, fmt.Sprintf("at most %d bundles", maxReferrers), fmt.Sprint(len(had)+1))
	}
	return out.Bytes(), nil
}

// split takes JSON lines apart, even one; anything else stays whole.
func split(raw []byte) [][]byte {
	var lines [][]byte
	for line := range bytes.Lines(raw) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if line[0] != '{' || content.CheckJSON("line", line) != nil {
			return [][]byte{raw}
		}
		lines = append(lines, line)
	}
	if lines == nil {
		return [][]byte{raw}
	}
	return lines
}
