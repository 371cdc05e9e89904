package reason

// Causes that verify/evidence refuses with. N01 to N30 are the cases of the
// history that the tests replay.
const (
	EnvelopeTooLarge         Code = "envelope-too-large"
	EnvelopeMalformed        Code = "envelope-malformed"
	EnvelopeDuplicateMember  Code = "envelope-duplicate-member"
	EnvelopeUnknownVersion   Code = "envelope-unknown-version"
	EnvelopeSignatureCount   Code = "envelope-signature-count"
	EnvelopeCertificate      Code = "envelope-certificate"
	EnvelopeCertificateIsKey Code = "envelope-certificate-is-key"
	EnvelopeNotDSSE          Code = "envelope-not-dsse"
	EnvelopeUnproved         Code = "envelope-unproved"
	PayloadTypeWrong         Code = "payload-type"
	StatementMalformed       Code = "statement-malformed"
	StatementType            Code = "statement-type"
	SubjectMismatch          Code = "subject-mismatch"
	SubjectUnusable          Code = "subject-unusable"
	LegacyLayerMalformed     Code = "legacy-layer-malformed"
	LegacyPayloadMalformed   Code = "legacy-payload-malformed"
	LegacyPayloadType        Code = "legacy-payload-type"

	SignatureInvalid    Code = "signature-invalid"
	SignatureUnknownKey Code = "signature-unknown-key"
	KeyOutsideWindow    Code = "key-outside-window"

	CertificateIdentity         Code = "certificate-identity"
	CertificateUntrusted        Code = "certificate-untrusted"
	CertificateExpired          Code = "certificate-expired"
	CertificateAuthorityExpired Code = "certificate-authority-expired"
	CertificateUsage            Code = "certificate-usage"
	SCTAbsent                   Code = "sct-absent"
	SCTInvalid                  Code = "sct-invalid"

	LogAbsent            Code = "log-absent"
	LogUnknown           Code = "log-unknown"
	LogEntryMalformed    Code = "log-entry-malformed"
	LogDuplicate         Code = "log-duplicate"
	LogMismatch          Code = "log-mismatch"
	LogPromiseInvalid    Code = "log-promise-invalid"
	LogProofAbsent       Code = "log-proof-absent"
	LogProofInvalid      Code = "log-proof-invalid"
	LogCheckpointInvalid Code = "log-checkpoint-invalid"

	TimestampAbsent  Code = "timestamp-absent"
	TimestampInvalid Code = "timestamp-invalid"
	TimestampFuture  Code = "timestamp-future"
)

var evidenceRows = []Row{
	{EnvelopeTooLarge, Denied, "a Sigstore bundle is over the size limit", "verify/evidence TestParseRefuses/too-large"},
	{EnvelopeMalformed, Denied, "a Sigstore bundle cannot be read strictly", "verify/evidence TestN27BundleAmbiguous/truncated"},
	{EnvelopeDuplicateMember, Denied, "a Sigstore bundle gives one JSON member twice", "verify/evidence TestN27BundleAmbiguous/duplicate"},
	{EnvelopeUnknownVersion, Denied, "the media type is of no bundle version that is read here", "verify/evidence TestN27BundleAmbiguous/version"},
	{EnvelopeSignatureCount, Denied, "a DSSE envelope has no signature, or several", "verify/evidence TestN24SignatureCount/two"},
	{EnvelopeCertificate, Denied, "a bundle's certificate cannot be parsed, or its chain is empty", "verify/evidence TestParseRefuses/certificate"},
	{EnvelopeCertificateIsKey, Denied, "a bare public key stands where a certificate belongs", "verify/evidence TestN15KeyInPlaceOfCertificate/key"},
	{EnvelopeNotDSSE, Denied, "a signature over a bare message is no statement about an image", "verify/evidence TestCheckRefuses/message"},
	{EnvelopeUnproved, Denied, "the bundle is refused as a whole, and no stage of the proof fails alone", "verify/evidence TestDiagnoseNeverAccepts"},
	{PayloadTypeWrong, Denied, "the signed payload is not an in-toto statement", "verify/evidence TestN23PayloadTypeChanged"},
	{StatementMalformed, Denied, "the signed in-toto statement cannot be read strictly", "verify/evidence TestN27StatementAmbiguous/statement-duplicate"},
	{StatementType, Denied, "the signed payload is an in-toto statement of an unknown version", "verify/evidence TestParseRefuses/statement-type"},
	{SubjectMismatch, Denied, "the statement speaks about other artifacts", "verify/evidence TestN28OtherSubject/one"},
	{SubjectUnusable, Denied, "no subject of the statement has a sha256 digest", "verify/evidence TestN30NoSHA256/sha512"},
	{SignatureInvalid, Denied, "the signature does not fit the key and the payload", "verify/evidence TestN23SignedWithoutPAE/payload"},
	{LegacyLayerMalformed, Denied, "a layer of a cosign tag lacks its signature, or has an annotation that cannot be read strictly", "verify/evidence TestLegacyRefuses/no-signature"},
	{LegacyPayloadMalformed, Denied, "a simple-signing payload cannot be read strictly", "verify/evidence TestLegacyRefuses/payload-duplicate"},
	{LegacyPayloadType, Denied, "a simple-signing payload is of another type than cosign's", "verify/evidence TestLegacyRefuses/payload-type"},
	{SignatureUnknownKey, Denied, "signed by a key that is not trusted", "verify/evidence TestCheckRefuses/other-key"},
	{KeyOutsideWindow, Denied, "the key signed before or after it was allowed to", "verify/evidence TestN09KeyOutsideItsWindow/over"},
	{CertificateIdentity, Denied, "the certificate does not name exactly one signer and one issuer", "verify/evidence TestKeylessRefuses/two-names"},
	{CertificateUntrusted, Denied, "no authority of the root issued the certificate", "verify/evidence TestKeylessRefuses/other-root"},
	{CertificateExpired, Denied, "the certificate was not valid when the signature was made", "verify/evidence TestN07LeafExpired/v1"},
	{CertificateAuthorityExpired, Denied, "the issuer was not valid, or not trusted, when the signature was made", "verify/evidence TestN08IssuerExpired/issuer"},
	{CertificateUsage, Denied, "a private authority issued the certificate for another use than signing", "verify/evidence TestCertificateUsage/server"},
	{SCTAbsent, Denied, "the certificate has no signed certificate timestamp", "verify/evidence TestKeylessRefuses/sct-absent"},
	{SCTInvalid, Denied, "no certificate-transparency log of the root knows the certificate", "verify/evidence TestKeylessRefuses/sct-forged"},
	{LogAbsent, Denied, "the bundle has no log entry", "verify/evidence TestKeylessRefuses/log-absent"},
	{LogUnknown, Denied, "the log entry is of a log that the root does not know", "verify/evidence TestKeylessRefuses/log-unknown"},
	{LogEntryMalformed, Denied, "a log entry cannot be read, or does not verify in itself", "verify/evidence TestParseRefuses/entry"},
	{LogDuplicate, Denied, "the bundle gives one log entry twice", "verify/evidence TestN04TwoEntriesOfOneLog/twice"},
	{LogMismatch, Denied, "the log entry is of another signature", "verify/evidence TestN01EntryOfAnotherArtifact/v1"},
	{LogPromiseInvalid, Denied, "the log did not sign the inclusion promise", "verify/evidence TestN02ForgedPromise/forged"},
	{LogProofAbsent, Denied, "the log entry lacks the proof that its bundle version asks for", "verify/evidence TestParseRefuses/proof-absent"},
	{LogProofInvalid, Denied, "the log entry is not in the tree that the proof speaks of", "verify/evidence TestN05Checkpoint/proof"},
	{LogCheckpointInvalid, Denied, "the log did not sign the tree that the proof speaks of", "verify/evidence TestN05Checkpoint/root-hash"},
	{TimestampAbsent, Denied, "nothing proves when the signature was made", "verify/evidence TestN11EntryWithoutTimestamp/none"},
	{TimestampInvalid, Denied, "no timestamp authority of the root vouches for the signature's time", "verify/evidence TestN10ForgedTimestamp/shadowed"},
	{TimestampFuture, Denied, "the signature was made in the future, as this host's clock has it", "verify/evidence TestFuture"},
}
