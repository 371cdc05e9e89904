//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// TestEvidenceMemory gives evidence as large as it may be: bundles that nobody signed,
// made to be larger in memory than in the file, and an SBOM of our signer's. ztlaunch
// stays within its memory with each, and the signature beside it counts.
func TestEvidenceMemory(t *testing.T) {
	d := newDesk(t)
	d.layoutOf("plain")
	k := verifytest.NewKey(t)
	d.file("signer.pub", k.Public(t))
	d.file("policy.yaml", []byte("version: 1\nidentities: {release: {key: signer.pub}}\nimages: [{match: '**', require: [{signature: {by: [release]}}, {sbom: {by: [release], covers: all}}]}]\n"))
	sum := d.sumOf("plain")
	sign := func(kind, predicate string) string {
		return string(k.Attest(t, []byte(`{"_type":"`+evidence.StatementV1+`","subject":[{"digest":{"sha256":"`+sum.Encoded()+`"}}],"predicateType":"`+kind+`","predicate":`+predicate+`}`)))
	}
	d.file("good.json", []byte(sign(evidence.PredicateCosignSign, "{}")))
	const text = fetch.MaxEvidence * 3 / 4 / 101 * 100 // of which base64 makes a third more, and the bundle a little
	var files strings.Builder
	files.WriteString(`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"x","documentNamespace":"https://x.example/1",` +
		`"creationInfo":{"created":"2026-01-01T00:00:00Z","creators":["Tool: x"]},"packages":[],"files":[`)
	for i := 0; files.Len() < text-1000; i++ {
		if i > 0 {
			files.WriteByte(',')
		}
		fmt.Fprintf(&files, `{"SPDXID":"SPDXRef-%d","fileName":"/%d","checksums":[{"algorithm":"SHA256","checksumValue":"%064x"}]}`, i, i, i)
	}
	files.WriteString(`]}`)
	junk := func(before, one, after string) string {
		return before + strings.Repeat(one, (fetch.MaxEvidence-4096)/len(one)) + one[:len(one)-1] + after
	}
	head := `{"mediaType":"` + evidence.MediaType + `","verificationMaterial":{"publicKey":{"hint":""}`
	for name, raw := range map[string]string{
		"an SBOM":      sign(evidence.PredicateSPDX, files.String()),
		"log entries":  junk(head+`,"tlogEntries":[`, "{},", `]},"messageSignature":{}}`),
		"lists":        junk(head+`},"x":[`, "[],", `]}`),
		"signatures":   junk(head+`},"dsseEnvelope":{"signatures":[`, "{},", `]}}`),
		"certificates": junk(`{"mediaType":"`+evidence.MediaType+`","verificationMaterial":{"x509CertificateChain":{"certificates":[`, "{},", `]}},"messageSignature":{}}`),
	} {
		d.file("large.json", []byte(raw))
		for what, args := range map[string][]string{"a key": {"--key", d.at("signer.pub")}, "a policy": {"--policy", d.at("policy.yaml")}} {
			for range 2 { // the second time some of it is known
				a, peak := d.measured("state-"+strings.ReplaceAll(name, " ", "-"), append(append([]string{"verify", "--json"}, args...), "--evidence", d.at("good.json"), "--evidence", d.at("large.json"), "oci-layout:"+d.at("plain"))...)
				if want := map[string]int{"a key": 0, "a policy": 1}[what]; a.status != want {
					t.Errorf("%s, %s: status %d, want %d: %.2000s%.2000s", name, what, a.status, want, a.out, a.err)
				}
				if peak == 0 || peak > most {
					t.Errorf("%s, %s: %d MiB at most, want up to %d", name, what, peak>>20, most>>20)
				}
				t.Logf("%s of %d MiB, %s: %d MiB", name, len(raw)>>20, what, peak>>20)
			}
		}
	}
}

// sumOf is the digest of what a layout of the desk holds.
func (d desk) sumOf(name string) digest.Digest {
	d.t.Helper()
	ref, err := artifact.Parse("oci-layout:" + d.at(name))
	if err != nil {
		d.t.Fatal(err)
	}
	store, err := content.Open(d.at("test-store"))
	if err != nil {
		d.t.Fatal(err)
	}
	found, err := fetch.Discover(d.t.Context(), ref, fetch.Options{Store: store})
	if err != nil {
		d.t.Fatal(err)
	}
	return found.Root.Digest
}
