package reason

// Causes found while reading a bill of materials.
const (
	SBOMMalformed   Code = "sbom-malformed"
	SBOMUnsupported Code = "sbom-unsupported"
)

var sbomRows = []Row{
	{SBOMMalformed, Denied, "the SBOM does not parse: broken JSON, a key twice, too large, or a required member is missing", "sbom TestParse/bad-type"},
	{SBOMUnsupported, Denied, "the SBOM is of a family or version that is not read", "sbom TestParse/bad-version-spdx"},
}
