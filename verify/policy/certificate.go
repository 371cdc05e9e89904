package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Certificate is somebody to whom a private authority issued a certificate.
type Certificate struct {
	Authority trust.Authority
	Kind      string // of SAN: uri, email, dns or other
	SAN       string // a pattern for the whole name
}

func (c Certificate) zero() bool { return c.Authority.Zero() }

// String is the certificate's terms in one line.
func (c Certificate) String() string {
	return "authority " + strings.Join(c.Authority.IDs(), " or ") + ", " + c.Kind + " " + c.SAN
}

// differences holds a signer against the terms. Which intermediates stand between
// is not compared: the root answers for those that it certified.
func (c Certificate) differences(s evidence.Signer) (out []Difference) {
	if !slices.Contains(c.Authority.IDs(), s.Authority) {
		out = append(out, Difference{"authority", strings.Join(c.Authority.IDs(), " or "), s.Authority})
	}
	if s.SAN == "" || !sanFits(c.SAN, c.Kind, s.SAN) {
		out = append(out, Difference{"san", c.SAN, s.SAN})
	}
	if s.SANType != c.Kind {
		out = append(out, Difference{"san type", c.Kind, s.SANType})
	}
	return out
}

func (r *reader) certificate(n form.Node) (c Certificate) {
	var san form.Node
	n.Fields(fields{
		"authority": func(v form.Node) { c.Authority = r.authority(v) },
		"san": func(v form.Node) {
			if c.SAN, san = v.Text(), v; plainFault(c.SAN) != "" {
				v.Fail(reason.PolicyPattern, "a certificate's name", plainFault(c.SAN)+" in "+fmt.Sprintf("%.80q", c.SAN), "")
			}
		},
		"kind": func(v form.Node) { c.Kind = v.OneOf("uri", "email", "dns", "other") },
	})
	n.Need("authority", "san")
	if c.Kind == "" {
		if c.Kind = sanType(c.SAN); c.Kind == "other" {
			n.Fail(reason.FormMissingKey, "kind, which this name does not tell", "no such key here", "add kind: dns, or kind: other")
		}
	}
	if expected, next := lintSAN(c.SAN, c.Kind); expected != "" {
		san.Fail(reason.PolicyPattern, expected, fmt.Sprintf("%.80q", c.SAN), next)
	}
	return c
}

// authority reads a PEM file of certificates, or blocks that stand in the policy
// itself.
func (r *reader) authority(v form.Node) trust.Authority {
	raw, err := r.pem(v)
	if raw == nil && err == nil {
		return trust.Authority{}
	}
	var a trust.Authority
	if err == nil {
		a, err = trust.ParseAuthority(raw)
	}
	if err != nil {
		v.Fail(reason.PolicyAuthority, "the PEM certificates of an authority", clip(err.Error()), "openssl x509 -in FILE -noout -text")
	}
	return a
}

// pem is the text of a PEM file that the policy names, or holds; nil for nothing.
func (r *reader) pem(v form.Node) ([]byte, error) {
	name := r.file(v)
	switch t := v.Text(); {
	case t == "":
		return nil, nil
	case name == "":
		return []byte(t), nil
	}
	if r.read == nil {
		return nil, fmt.Errorf("read %s: no files here", name)
	}
	return r.read(name)
}

// file is the file that a value names, from the policy's folder; "" for the PEM text
// itself.
func (r *reader) file(v form.Node) string {
	switch t := v.Text(); {
	case t == "" || strings.HasPrefix(t, "-----BEGIN "):
		return ""
	case path.IsAbs(t):
		return t
	default:
		return path.Join(path.Dir(r.policy.path), t)
	}
}
