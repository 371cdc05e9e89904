package reason

// Causes of verify/model. What is wrong with an envelope itself has the codes
// of verify/evidence.
const (
	ModelSignatureAbsent Code = "model-signature-absent"
	ModelEnvelope        Code = "model-envelope"
	ModelCertificate     Code = "model-certificate-method"
	ModelPredicateType   Code = "model-predicate-type"
	ModelSubjectCount    Code = "model-subject-count"
	ModelHint            Code = "model-hint"
	ModelMalformed       Code = "model-malformed"
	ModelMethod          Code = "model-method"
	ModelAlgorithm       Code = "model-algorithm"
	ModelDigest          Code = "model-digest"
	ModelSymlinksAllowed Code = "model-symlinks-allowed"
	ModelEmpty           Code = "model-empty"
	ModelRootDigest      Code = "model-root-digest"
	ModelName            Code = "model-name"
	ModelNameTwice       Code = "model-name-twice"
	ModelNameTwins       Code = "model-name-twins"
	ModelIgnorePath      Code = "model-ignore-path"
	ModelFileMissing     Code = "model-file-missing"
	ModelFileUnsigned    Code = "model-file-unsigned"
	ModelDigestMismatch  Code = "model-digest-mismatch"
	ModelChanged         Code = "model-changed"
	ModelPointer         Code = "model-lfs-pointer"
	ModelSymlink         Code = "model-symlink"
	ModelHardLink        Code = "model-hard-link"
	ModelFileType        Code = "model-file-type"
	ModelTooLarge        Code = "model-too-large"
	ModelUnreadable      Code = "model-unreadable"
)

var modelRows = []Row{
	{ModelSignatureAbsent, Denied, "the model has no signature file", "verify/model TestSignature"},
	{ModelEnvelope, Denied, "the bundle or statement is of another version than model signatures have", "verify/model TestSignatureRefused/statement-v0.1"},
	{ModelCertificate, Denied, "the model is signed by the certificate method, which is not supported", "verify/model TestVectors"},
	{ModelPredicateType, Denied, "the statement is no model signature", "verify/model TestSignatureRefused/predicate-v0.1"},
	{ModelSubjectCount, Denied, "a model signature has no subject, or several", "verify/model TestSignatureRefused/two-subjects"},
	{ModelHint, Denied, "the bundle names another key than the one that signed", "verify/model TestSignatureRefused/hint-of-another"},
	{ModelMalformed, Denied, "the predicate cannot be read strictly", "verify/model TestSignatureRefused/unknown-member"},
	{ModelMethod, Denied, "the model is not signed file by file", "verify/model TestSignatureRefused/shards"},
	{ModelAlgorithm, Denied, "a file is signed with another hash than sha256", "verify/model TestSignatureRefused/algorithm"},
	{ModelDigest, Denied, "a signed digest is not 64 lower-case hexadecimal digits", "verify/model TestSignatureRefused/digest-upper"},
	{ModelSymlinksAllowed, Denied, "the signer followed symlinks", "verify/model TestSignatureRefused/allow-symlinks"},
	{ModelEmpty, Denied, "the signature lists no file", "verify/model TestSignatureRefused/no-resources"},
	{ModelRootDigest, Denied, "the signed subject is not the root digest of the listed files", "verify/model TestSignatureRefused/root-digest"},
	{ModelName, Denied, "a signed name is no plain relative path", "verify/model TestNames"},
	{ModelNameTwice, Denied, "a name is signed twice", "verify/model TestNames"},
	{ModelNameTwins, Denied, "two signed names differ in case or normalisation only", "verify/model TestNames"},
	{ModelIgnorePath, Denied, "an ignored path is no plain relative path, or covers a signed file", "verify/model TestNames"},
	{ModelFileMissing, Denied, "a signed file is not there", "verify/model TestN36ModelFolder/missing"},
	{ModelFileUnsigned, Denied, "a file is there that nobody signed", "verify/model TestN36ModelFolder/extra"},
	{ModelDigestMismatch, Denied, "a file has other bytes than the signed ones", "verify/model TestN36ModelFolder/first-byte"},
	{ModelChanged, Denied, "a file grew or shrank while it was read", "verify/model TestGrowing"},
	{ModelPointer, Denied, "a Git LFS pointer stands where the file should", "verify/model TestN36ModelFolder/lfs-pointer"},
	{ModelSymlink, Denied, "there is a symlink in the model's folder", "verify/model TestN36ModelFolder/symlink"},
	{ModelHardLink, Denied, "a file of the model has a second name somewhere", "verify/model TestN36ModelFolder/hard-link"},
	{ModelFileType, Denied, "something in the model's folder is no regular file", "verify/model TestN36ModelFolder/fifo"},
	{ModelTooLarge, Denied, "the model is over the size limit", "verify/model TestN36ModelFolder/sparse"},
	{ModelUnreadable, CannotTell, "the model or its signature cannot be read", "verify/model TestUnreadable"},
}
