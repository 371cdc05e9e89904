package reason

// Causes of verify/artifact.
const (
	ReferenceInvalid   Code = "reference-invalid"
	PlatformInvalid    Code = "platform-invalid"
	ArtifactIncomplete Code = "artifact-incomplete"
)

var artifactRows = []Row{
	{ReferenceInvalid, Usage, "the text is not a reference to an image, a model or a server", "verify/artifact TestParseRefuses"},
	{PlatformInvalid, Usage, "the text is not OS/ARCH[/VARIANT]", "verify/artifact TestPlatform"},
	{ArtifactIncomplete, Internal, "an artifact was to be pinned without all of its digests", "verify/artifact TestPinRefuses"},
}
