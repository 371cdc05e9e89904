package reason

// Causes of verify/content.
const (
	StoreUnwritable  Code = "store-unwritable"
	StoreUnreadable  Code = "store-unreadable"
	StoreExposed     Code = "store-exposed"
	BlobAbsent       Code = "blob-absent"
	KeptForged       Code = "kept-forged"
	JSONMalformed    Code = "json-malformed"
	JSONTrailing     Code = "json-trailing-data"
	JSONDeep         Code = "json-too-deep"
	JSONDuplicateKey Code = "json-duplicate-key"
	JSONVariantKey   Code = "json-variant-key"
)

var contentRows = []Row{
	{StoreUnwritable, CannotTell, "the store cannot be written (disk full, no permission)", "verify/content TestStoreUnwritable"},
	{StoreUnreadable, CannotTell, "a file of the store cannot be read, or is not a regular file", "verify/content TestStorePlanted"},
	{StoreExposed, CannotTell, "the store, or its key, can be changed by other users", "verify/content TestStoreExposed"},
	{BlobAbsent, CannotTell, "the store has no blob with this digest", "verify/content TestStoreAbsent"},
	{KeptForged, Denied, "a kept value or record was not written by this store", "verify/content TestKeptForged"},
	{JSONMalformed, Denied, "the text is not one JSON value in UTF-8, or a field has the wrong type", "verify/content TestJSONRefuses"},
	{JSONTrailing, Denied, "data follows the JSON value", "verify/content TestJSONRefuses"},
	{JSONDeep, Denied, "JSON values are nested too deeply", "verify/content TestJSONRefuses"},
	{JSONDuplicateKey, Denied, "a JSON object has the same key twice", "verify/content TestJSONRefuses"},
	{JSONVariantKey, Denied, "a JSON key differs from a known or another key only in case", "verify/content TestJSONRefuses"},
}
