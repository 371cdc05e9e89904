package verifytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
)

// authority is a certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string, parent *authority, until time.Time, shape func(*x509.Certificate)) authority {
	t.Helper()
	k := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name},
		NotBefore: opened(), NotAfter: until,
	}
	shape(template)
	issuer := authority{cert: template, key: k}
	if parent != nil {
		issuer = *parent
	}
	return authority{cert: create(t, template, issuer, k.Public()), key: k}
}

// ca shapes a certificate that issues others for one purpose.
func ca(usage x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid = true, true
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, []x509.ExtKeyUsage{usage}
	}
}

// stamps shapes the certificate of a timestamp authority: the extended usage
// must be critical and alone (RFC 3161, section 2.3).
func stamps(c *x509.Certificate) {
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		panic(err) // a constant
	}
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}
}

func create(t testing.TB, template *x509.Certificate, issuer authority, subject crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, subject, issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// SCT says what signed certificate timestamp a certificate carries.
type SCT uint8

// The kinds of signed certificate timestamp.
const (
	SCTGood    SCT = iota
	SCTAbsent      // none
	SCTForged      // in the log's name, signed by somebody else
	SCTTwice       // two of one log, of different times
	SCTTwoLogs     // one of each log
)

// issue makes a certificate of Fulcio's shape: valid for ten minutes, no
// subject, one critical name and the extensions of who.
func (s *Sigstore) issue(t testing.TB, who evidence.Signer, k *ecdsa.PrivateKey, o Options) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(t), NotBefore: o.IssuedAt, NotAfter: o.IssuedAt.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: append([]pkix.Extension{san(t, who)}, extensions(t, who)...),
	}
	if o.Template != nil {
		o.Template(template)
	}
	c := create(t, template, s.issuer, k.Public())
	if o.SCT == SCTAbsent {
		return c
	}
	// The log signs the certificate as it is without the timestamp, which is
	// then appended as the last extension (RFC 6962, section 3.3).
	first := s.sct(t, s.ct, s.ct.key, c, o.IssuedAt)
	scts := [][]byte{first}
	switch o.SCT {
	case SCTForged:
		scts[0] = s.sct(t, s.ct, newKey(t), c, o.IssuedAt)
	case SCTTwice:
		scts = append(scts, s.sct(t, s.ct, s.ct.key, c, o.IssuedAt.Add(time.Second)))
	case SCTTwoLogs:
		scts = append(scts, s.sct(t, s.ct2, s.ct2.key, c, o.IssuedAt))
	}
	template.ExtraExtensions = append(template.ExtraExtensions, timestamps(t, scts))
	return create(t, template, s.issuer, k.Public())
}

// timestamps is the extension with signed certificate timestamps (RFC 6962,
// section 3.3).
func timestamps(t testing.TB, scts [][]byte) pkix.Extension {
	t.Helper()
	var all []byte
	for _, sct := range scts {
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(sct))), sct...)
	}
	list := append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...)
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: der(t, list)}
}

// sct is one signed certificate timestamp over a precertificate entry (RFC 6962,
// section 3.2).
func (s *Sigstore) sct(t testing.TB, by log, key *ecdsa.PrivateKey, c *x509.Certificate, at time.Time) []byte {
	t.Helper()
	issuer := sha256.Sum256(s.issuer.cert.RawSubjectPublicKeyInfo)
	tbs := c.RawTBSCertificate
	millis := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))

	signed := append([]byte{0, 0}, millis...) // v1, certificate timestamp
	signed = append(signed, 0, 1)             // precertificate entry
	signed = append(signed, issuer[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(append(signed, tbs...), 0, 0) // no extensions
	sig := sign(t, key, signed)

	sct := append([]byte{0}, by.id(t)...)
	sct = append(append(sct, millis...), 0, 0)
	sct = append(sct, 4, 3) // SHA-256, ECDSA
	return append(binary.BigEndian.AppendUint16(sct, uint16(len(sig))), sig...)
}

// san is the one name of a certificate, critical because there is no subject.
// The bytes are exactly those of the Signer.
func san(t testing.TB, who evidence.Signer) pkix.Extension {
	t.Helper()
	tag := 6
	switch who.SANType {
	case "uri":
	case "email":
		tag = 1
	case "dns":
		tag = 2
	case "other":
		x, err := cryptoutils.MarshalOtherNameSAN(who.SAN, true)
		if err != nil {
			t.Fatal(err)
		}
		return *x
	default:
		t.Fatalf("a name of kind %q", who.SANType)
	}
	value := der(t, []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(who.SAN)}})
	return pkix.Extension{Id: cryptoutils.SANOID, Critical: true, Value: value}
}

// extensions are Fulcio's, under 1.3.6.1.4.1.57264.1: the first six hold bare
// text, the others a UTF8String. An empty field is left out.
func extensions(t testing.TB, who evidence.Signer) []pkix.Extension {
	t.Helper()
	var all []pkix.Extension
	for _, f := range []struct {
		arc   int
		value string
	}{
		{1, who.Issuer},
		{2, who.GitHubWorkflowTrigger},
		{3, who.GitHubWorkflowSHA},
		{4, who.GitHubWorkflowName},
		{5, who.GitHubWorkflowRepository},
		{6, who.GitHubWorkflowRef},
		{8, who.Issuer},
		{9, who.BuildSignerURI},
		{10, who.BuildSignerDigest},
		{11, who.RunnerEnvironment},
		{12, who.SourceRepositoryURI},
		{13, who.SourceRepositoryDigest},
		{14, who.SourceRepositoryRef},
		{15, who.SourceRepositoryIdentifier},
		{16, who.SourceRepositoryOwnerURI},
		{17, who.SourceRepositoryOwnerIdentifier},
		{18, who.BuildConfigURI},
		{19, who.BuildConfigDigest},
		{20, who.BuildTrigger},
		{21, who.RunInvocationURI},
		{22, who.SourceRepositoryVisibilityAtSigning},
	} {
		if f.value == "" {
			continue
		}
		value := []byte(f.value)
		if f.arc > 7 {
			value = der(t, asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagUTF8String, Bytes: value})
		}
		all = append(all, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, f.arc}, Value: value})
	}
	return all
}

func der(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
