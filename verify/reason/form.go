package reason

// Causes found while reading a file that a person wrote.
const (
	FormSyntax       Code = "yaml-syntax"
	FormUnsupported  Code = "yaml-unsupported"
	FormDuplicateKey Code = "yaml-duplicate-key"
	FormUnknownKey   Code = "yaml-unknown-key"
	FormMissingKey   Code = "yaml-missing-key"
	FormValue        Code = "yaml-value"
)

var formRows = []Row{
	{FormSyntax, Usage, "the file is not one YAML document of at most 1 MiB of UTF-8 text", "verify/form TestParse/syntax"},
	{FormUnsupported, Usage, "the file uses a part of YAML that is refused (anchors, aliases, tags, several documents) or nests too deep", "verify/form TestParse/unsupported-anchor"},
	{FormDuplicateKey, Usage, "a key appears twice in one mapping", "verify/form TestParse/duplicate-key"},
	{FormUnknownKey, Usage, "a key is not one of those that may stand there", "verify/form TestRead/unknown-key"},
	{FormMissingKey, Usage, "a key that must stand there is missing", "verify/form TestRead/missing-key"},
	{FormValue, Usage, "a value is not of the wanted form", "verify/form TestRead/value-text"},
}
