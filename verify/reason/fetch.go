package reason

// Causes of verify/fetch: what is fetched.
const (
	ReferenceNotImage  Code = "reference-not-image"
	ReferenceAmbiguous Code = "reference-ambiguous"
	ReferenceUnclear   Code = "reference-unclear"
	ImageAbsent        Code = "image-absent"
	ContentAbsent      Code = "content-absent"
	PullNever          Code = "pull-never"
	FetchInterrupted   Code = "fetch-interrupted"
	PushRefused        Code = "push-refused"

	MismatchIndex    Code = "digest-mismatch-index"
	MismatchManifest Code = "digest-mismatch-manifest"
	MismatchConfig   Code = "digest-mismatch-config"
	MismatchLayer    Code = "digest-mismatch-layer"
	MismatchEvidence Code = "digest-mismatch-evidence"

	ManifestMalformed Code = "manifest-malformed"
	ManifestSchema1   Code = "manifest-schema1"
	ManifestConfused  Code = "manifest-confused"
	ManifestMediaType Code = "manifest-media-type"
	ManifestTooLarge  Code = "manifest-too-large"
	IndexTooMany      Code = "index-too-many"
	IndexNested       Code = "index-nested"
	PlatformAbsent    Code = "platform-absent"
	DescriptorData    Code = "descriptor-data"
	DescriptorURLs    Code = "descriptor-urls"
	DescriptorSize    Code = "descriptor-size"
	DigestUnsupported Code = "digest-unsupported"
	ConfigMediaType   Code = "config-media-type"
	ConfigTooLarge    Code = "config-too-large"
	ConfigMalformed   Code = "config-malformed"
	ConfigPlatform    Code = "config-platform"
	ConfigDiffIDs     Code = "config-diff-ids"
	LayersTooMany     Code = "layers-too-many"
	LayerMediaType    Code = "layer-media-type"
	LayerForeign      Code = "layer-foreign"

	LayoutUnreadable  Code = "layout-unreadable"
	LayoutMalformed   Code = "layout-malformed"
	LayoutUnwritable  Code = "layout-unwritable"
	ArchiveMalformed  Code = "archive-malformed"
	ArchiveCompressed Code = "archive-compressed"
	ArchiveTooLarge   Code = "archive-too-large"
	DaemonUnreachable Code = "daemon-unreachable"
	DaemonFailing     Code = "daemon-failing"
)

// Causes of verify/fetch: registries.
const (
	RegistryUnauthorized  Code = "registry-unauthorized"
	RegistryForbidden     Code = "registry-forbidden"
	RegistryThrottled     Code = "registry-throttled"
	RegistryFailing       Code = "registry-failing"
	RegistryTimeout       Code = "registry-timeout"
	RegistryUnreachable   Code = "registry-unreachable"
	RegistryTLS           Code = "registry-tls"
	RegistryPlainHTTP     Code = "registry-plain-http"
	RegistryCut           Code = "registry-cut"
	CAFileInvalid         Code = "ca-file-invalid"
	CredentialsUnreadable Code = "credentials-unreadable"
	MirrorInvalid         Code = "mirror-invalid"
)

// Causes of verify/fetch: the search for evidence.
const (
	ReferrersAbsent       Code = "referrers-content-absent"
	ReferrersUnauthorized Code = "referrers-unauthorized"
	ReferrersForbidden    Code = "referrers-forbidden"
	ReferrersThrottled    Code = "referrers-throttled"
	ReferrersFailing      Code = "referrers-failing"
	ReferrersTimeout      Code = "referrers-timeout"
	ReferrersUnreachable  Code = "referrers-unreachable"
	ReferrersTLS          Code = "referrers-tls"
	ReferrersPlainHTTP    Code = "referrers-plain-http"
	ReferrersCut          Code = "referrers-cut"
	ReferrersMalformed    Code = "referrers-malformed"
	ReferrersTooMany      Code = "referrers-too-many"
	ReferrerSubject       Code = "referrer-subject"
	EvidenceTooLarge      Code = "evidence-too-large"
	EvidenceTooMany       Code = "evidence-too-many"
	EvidenceUnreadable    Code = "evidence-unreadable"
	EvidenceIncomplete    Code = "evidence-incomplete"
)

// Causes of verify/fetch: small files that are no part of an image.
const (
	DocumentPlace       Code = "document-place"
	DocumentAbsent      Code = "document-absent"
	DocumentUnreachable Code = "document-unreachable"
	DocumentUnreadable  Code = "document-unreadable"
	DocumentTLS         Code = "document-tls"
	DocumentTooLarge    Code = "document-too-large"
)

var fetchRows = []Row{
	{ReferenceNotImage, Usage, "the reference is not one of an image", "verify/fetch TestNotImage"},
	{ReferenceUnclear, Usage, "a word may be a local path or the name of an image", "cmd/ztlaunch TestScript/usage"},
	{ReferenceAmbiguous, Usage, "a layout or archive has several images and the reference names none", "verify/fetch TestLayoutChoice"},
	{ImageAbsent, Denied, "the registry, layout or archive says that it has no such image", "verify/fetch TestRegistryConditions/absent"},
	{ContentAbsent, CannotTell, "something that a manifest names is not where the manifest is", "verify/fetch TestN33CorruptLayout"},
	{PullNever, CannotTell, "the store lacks something and nothing may be fetched", "verify/fetch TestPullNever"},
	{FetchInterrupted, CannotTell, "the caller ended the fetch", "verify/fetch TestInterrupted"},
	{PushRefused, CannotTell, "the registry did not take what was pushed", "verify/fetch TestPushRefused"},

	{MismatchIndex, Denied, "an index does not have the digest or size it was named by", "verify/fetch TestCorruptRegistry/index"},
	{MismatchManifest, Denied, "a manifest does not have the digest or size it was named by", "verify/fetch TestCorruptRegistry/manifest"},
	{MismatchConfig, Denied, "an image config does not have the digest or size it was named by", "verify/fetch TestCorruptRegistry/config"},
	{MismatchLayer, Denied, "a layer does not have the digest or size it was named by", "verify/fetch TestCorruptRegistry/layer"},
	{MismatchEvidence, Denied, "a bundle, or the manifest that carries it, does not have the digest or size it was named by", "verify/fetch TestCorruptRegistry/bundle"},

	{ManifestMalformed, Denied, "a manifest or index lacks what the image specification demands", "verify/fetch TestManifestRefuses"},
	{ManifestSchema1, Denied, "a manifest of docker's schema 1, whose digest names something else than its bytes", "verify/fetch TestManifestRefuses"},
	{ManifestConfused, Denied, "a manifest that is an index as well (CVE-2021-41190)", "verify/fetch TestManifestRefuses"},
	{ManifestMediaType, Denied, "descriptor, Content-Type and body differ on what a manifest is, or it is nothing known", "verify/fetch TestManifestRefuses"},
	{ManifestTooLarge, Denied, "a manifest or index over 4 MiB", "verify/fetch TestHuge"},
	{IndexTooMany, Denied, "an index of more than 1024 manifests", "verify/fetch TestManifestRefuses"},
	{IndexNested, Denied, "an index within an index", "verify/fetch TestIndexRefuses"},
	{PlatformAbsent, Denied, "the index has no manifest for the wanted platform", "verify/fetch TestIndexRefuses"},
	{DescriptorData, Denied, "a descriptor embeds its content", "verify/fetch TestManifestRefuses"},
	{DescriptorURLs, Denied, "a descriptor sends elsewhere for its content", "verify/fetch TestManifestRefuses"},
	{DescriptorSize, Denied, "a descriptor's size is negative or over 64 GiB", "verify/fetch TestManifestRefuses"},
	{DigestUnsupported, Denied, "a digest is not sha256 in 64 lower-case hexadecimal digits", "verify/fetch TestManifestRefuses"},
	{ConfigMediaType, Denied, "the manifest is of something else than an image", "verify/fetch TestManifestRefuses"},
	{ConfigTooLarge, Denied, "an image config over 4 MiB", "verify/fetch TestManifestRefuses"},
	{ConfigMalformed, Denied, "an image config lacks what the image specification demands", "verify/fetch TestConfigRefuses"},
	{ConfigPlatform, Denied, "the image config is for another platform than was wanted", "verify/fetch TestConfigRefuses"},
	{ConfigDiffIDs, Denied, "the image config does not have one diff ID per layer", "verify/fetch TestConfigRefuses"},
	{LayersTooMany, Denied, "an image of more than 512 layers", "verify/fetch TestManifestRefuses"},
	{LayerMediaType, Denied, "a layer that is no tar stream", "verify/fetch TestManifestRefuses"},
	{LayerForeign, Denied, "a layer that the image does not carry", "verify/fetch TestManifestRefuses"},

	{LayoutUnreadable, CannotTell, "a layout or archive cannot be read", "verify/fetch TestLayoutRefuses"},
	{LayoutMalformed, Denied, "a folder or archive is no OCI image layout", "verify/fetch TestLayoutRefuses"},
	{LayoutUnwritable, CannotTell, "a layout cannot be written", "verify/fetch TestAttachLayout"},
	{ArchiveMalformed, Denied, "an archive is no readable tar file of an image", "verify/fetch TestArchiveRefuses"},
	{ArchiveCompressed, Usage, "an archive is compressed as a whole", "verify/fetch TestArchiveRefuses"},
	{ArchiveTooLarge, Denied, "the docker daemon sent more than 64 GiB", "verify/fetch TestSpool"},
	{DaemonUnreachable, CannotTell, "the docker daemon does not answer", "verify/fetch TestDaemon"},
	{DaemonFailing, CannotTell, "the docker daemon did not hand the image over", "verify/fetch TestDaemon"},

	{RegistryUnauthorized, CannotTell, "the registry wants credentials", "verify/fetch TestRegistryConditions/unauthorized"},
	{RegistryForbidden, CannotTell, "the registry refuses access", "verify/fetch TestRegistryConditions/forbidden"},
	{RegistryThrottled, CannotTell, "the registry wants fewer requests", "verify/fetch TestRegistryConditions/throttled"},
	{RegistryFailing, CannotTell, "the registry answers with an error, or with no HTTP", "verify/fetch TestRegistryConditions/failing"},
	{RegistryTimeout, CannotTell, "the registry does not answer in time", "verify/fetch TestRegistryConditions/stalled"},
	{RegistryUnreachable, CannotTell, "the registry cannot be connected to", "verify/fetch TestRegistryConditions/unreachable"},
	{RegistryTLS, CannotTell, "the registry's certificate is not trusted", "verify/fetch TestTLS"},
	{RegistryPlainHTTP, Usage, "the registry speaks plain HTTP, which is for loopback only", "verify/fetch TestPlainHTTP"},
	{RegistryCut, CannotTell, "the registry ended the connection within an answer", "verify/fetch TestRegistryConditions/cut"},
	{CAFileInvalid, Usage, "the file of trusted certificates cannot be used", "verify/fetch TestTLS"},
	{CredentialsUnreadable, CannotTell, "a file of credentials, or the helper it names, cannot be used", "verify/fetch TestCredentials"},
	{MirrorInvalid, Usage, "a mirror is not HOST[:PORT][/PATH]", "verify/fetch TestMirror"},

	{ReferrersAbsent, CannotTell, "evidence is listed and is not there", "verify/fetch TestN33CorruptLayout"},
	{ReferrersUnauthorized, CannotTell, "the registry wants credentials for evidence", "verify/fetch TestReferrersConditions/unauthorized"},
	{ReferrersForbidden, CannotTell, "the registry refuses access to evidence", "verify/fetch TestReferrersConditions/forbidden"},
	{ReferrersThrottled, CannotTell, "the registry wants fewer requests for evidence", "verify/fetch TestReferrersConditions/throttled"},
	{ReferrersFailing, CannotTell, "the registry answers a request for evidence with an error", "verify/fetch TestReferrersConditions/failing"},
	{ReferrersTimeout, CannotTell, "the registry does not answer a request for evidence in time", "verify/fetch TestReferrersConditions/stalled"},
	{ReferrersUnreachable, CannotTell, "the registry cannot be connected to for evidence", "verify/fetch TestReferrersConditions/unreachable"},
	{ReferrersTLS, CannotTell, "evidence is on a server whose certificate is not trusted", "verify/fetch TestReferrersConditions/tls"},
	{ReferrersPlainHTTP, CannotTell, "evidence is on a server that speaks plain HTTP", "verify/fetch TestReferrersConditions/plain-http"},
	{ReferrersCut, CannotTell, "the registry ended the connection within evidence", "verify/fetch TestReferrersConditions/cut"},
	{ReferrersMalformed, CannotTell, "the list of referrers cannot be understood", "verify/fetch TestReferrersConditions/malformed"},
	{ReferrersTooMany, CannotTell, "more than 1000 referrers of one subject", "verify/fetch TestReferrersConditions/too-many"},
	{ReferrerSubject, Denied, "a referrer is listed under a subject that it does not have", "verify/fetch TestReferrerLies"},
	{EvidenceTooLarge, Denied, "evidence over 64 MiB, or a manifest or list of it over 4 MiB", "verify/fetch TestEvidenceTooLarge"},
	{EvidenceTooMany, Denied, "a file of more than 1000 bundles", "verify/fetch TestDetachedBounds"},
	{EvidenceUnreadable, CannotTell, "a file of evidence cannot be read", "verify/fetch TestFiles"},
	{EvidenceIncomplete, CannotTell, "no complete search for evidence is recorded, and nothing may be fetched", "verify/fetch TestPullNever"},

	{DocumentPlace, Usage, "a place to read files from is no folder and no HTTPS URL, or a name leads out of it", "verify/fetch TestDocuments/scheme"},
	{DocumentAbsent, CannotTell, "a folder or server does not have a file", "verify/fetch TestDocuments/absent"},
	{DocumentUnreachable, CannotTell, "the server of a file cannot be connected to, or does not answer in time", "verify/fetch TestDocuments/nobody"},
	{DocumentUnreadable, CannotTell, "a file cannot be read, or its server answers with an error", "verify/fetch TestDocuments/failing"},
	{DocumentTLS, CannotTell, "a file is on a server whose certificate is not trusted", "verify/fetch TestDocuments/tls"},
	{DocumentTooLarge, Denied, "a file is larger than any of its kind may be", "verify/fetch TestDocuments/endless"},
}
