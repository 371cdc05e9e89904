package tree

// Limits bound what Scan and Decompress will read. A zero field means its
// default.
type Limits struct {
	Entries int   // entries of one layer; default 1,000,000
	Bytes   int64 // bytes of one uncompressed layer; default 32 GiB
	Text    int64 // bytes of names, link targets and attributes of one layer; default 256 MiB
	Ratio   int64 // uncompressed bytes per compressed byte, once over 64 MiB; default 200
}

const (
	maxEntries = 1_000_000
	maxBytes   = 32 << 30
	maxText    = 256 << 20
	maxRatio   = 200
	ratioFrom  = 64 << 20 // below this an expansion harms nobody

	maxXattrs = 16 << 10 // bytes of names and values of one entry
	maxLayers = 1024
)

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = maxEntries
	}
	if l.Bytes == 0 {
		l.Bytes = maxBytes
	}
	if l.Text == 0 {
		l.Text = maxText
	}
	if l.Ratio == 0 {
		l.Ratio = maxRatio
	}
	return l
}
