package policy

import "fmt"

// lines writes a policy as one line for each thing that it says, without places
// and formatting: two policies with the same lines decide alike.
func (p Policy) lines() (out []string) {
	for _, id := range p.identities {
		from, until := id.key.Window()
		out = append(out, fmt.Sprintf("identity %s = %s %v %v %s", id.name, id, from, until, id.certificate.Authority.Sum()))
	}
	for _, b := range p.builders {
		out = append(out, fmt.Sprintf("builder %s = %q level %d by %q", b.name, b.id, b.level, spoken(b.by)))
	}
	for _, d := range p.deny {
		out = append(out, "deny "+d.String())
	}
	if f := p.feed; f.file != "" {
		out = append(out, fmt.Sprintf("denyFeed %q by %q maxAge %v", f.file, spoken(f.by), f.maxAge))
	}
	for _, r := range p.rules {
		head := fmt.Sprintf("%s match %q digests %s until %v reason %q formats %q minimum %+v legacy %v", section(r.kind), r.match, r.digests, r.until, r.reason, r.formats, r.floor, r.legacy)
		for _, d := range r.demands {
			out = append(out, head+": "+d.text())
		}
	}
	return append(out, fmt.Sprintf("box %+v", p.box))
}

func spoken(by []Identity) (out []string) {
	for _, id := range by {
		out = append(out, id.name+" = "+id.String())
	}
	return out
}

func (d demand) text() string {
	t := d.build
	entry := ""
	if t.entry != nil {
		entry = t.entry.name
	}
	return fmt.Sprintf("%s by %d of %q logs %d maxAge %v minimumAge %v source %q builder %q %q level %d type %q ref %q parameters %#v covers %v severities %q attestation %q cel %q product %q",
		d.word, d.threshold, spoken(d.by), d.logs, d.maxAge, d.minimumAge, t.source, t.builder, entry, t.level, t.buildType, t.ref, t.parameters, d.coverage, d.severities, d.kind, d.expression.source, d.product)
}
