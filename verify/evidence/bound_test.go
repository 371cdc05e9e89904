package evidence

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestParseBound has envelopes that nobody signed be as large as they may: what a few
// bytes each would become in memory is refused before it is made.
func TestParseBound(t *testing.T) {
	const size = 16 << 20
	fill := func(one string) string { return strings.TrimSuffix(strings.Repeat(one, size/len(one)), ",") }
	members := func() string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, `"%d":0,`, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}()
	nested := func() string {
		var b strings.Builder
		for i := 0; b.Len() < size && i < 200; i++ {
			b.WriteByte('{')
			for n := range 10_000 {
				fmt.Fprintf(&b, `"%d":0,`, n)
			}
			b.WriteString(`"x":`)
		}
		return b.String() + "0" + strings.Repeat("}", 200)
	}()
	bundle := func(material, content string) string {
		return `{"mediaType":"` + MediaType + `","verificationMaterial":{` + material + `},` + content + `}`
	}
	signed := func(statement string) string {
		return bundle(`"publicKey":{"hint":""}`, `"dsseEnvelope":{"payloadType":"`+PayloadType+`","payload":"`+
			base64.StdEncoding.EncodeToString([]byte(statement))+`","signatures":[{"sig":"AAAA"}]}`)
	}
	const blob = `"messageSignature":{"signature":"AAAA"}`
	for name, c := range map[string]struct {
		raw  string
		want reason.Code
	}{
		"log entries":         {bundle(`"publicKey":{"hint":""},"tlogEntries":[`+fill("{},")+`]`, blob), reason.EnvelopeMalformed},
		"33 log entries":      {bundle(`"publicKey":{"hint":""},"tlogEntries":[`+strings.Repeat("{},", 32)+`{}]`, blob), reason.EnvelopeMalformed},
		"certificates":        {bundle(`"x509CertificateChain":{"certificates":[`+fill("{},")+`]}`, blob), reason.EnvelopeMalformed},
		"signatures":          {bundle(`"publicKey":{"hint":""}`, `"dsseEnvelope":{"payloadType":"x","payload":"","signatures":[`+fill("{},")+`]}`), reason.EnvelopeMalformed},
		"members":             {`{"mediaType":"x",` + members + `}`, reason.EnvelopeMalformed},
		"members of a layer":  {`{"mediaType":"` + LayerType + `","annotations":{` + members + `}}`, reason.EnvelopeMalformed},
		"subjects":            {signed(`{"_type":"` + StatementV1 + `","predicateType":"x","subject":[` + fill("1,") + `]}`), reason.StatementMalformed},
		"digests":             {signed(`{"_type":"` + StatementV1 + `","predicateType":"x","subject":[{"digest":{` + members + `}}]}`), reason.StatementMalformed},
		"members, nested":     {signed(`{"_type":"` + StatementV1 + `","predicateType":"x","subject":[],"predicate":` + nested + `}`), reason.StatementMalformed},
		"members of an entry": {bundle(`"publicKey":{"hint":""},"tlogEntries":[{"inclusionProof":{},"canonicalizedBody":"`+base64.StdEncoding.EncodeToString([]byte(`{`+members+`}`))+`"}]`, blob), reason.LogEntryMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			raw := []byte(c.raw)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Parse(raw)
			runtime.ReadMemStats(&after)
			if e, ok := reason.Of(err); !ok || e.Code != c.want {
				t.Errorf("%.300v, want %s", err, c.want)
			}
			if made := after.TotalAlloc - before.TotalAlloc; made > 4*size {
				t.Errorf("%d MiB were made of %d", made>>20, len(raw)>>20)
			}
		})
	}
}
