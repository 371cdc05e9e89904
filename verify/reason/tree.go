package reason

// Causes found while layers are scanned and merged into a tree.
const (
	DigestMismatchDiffID Code = "digest-mismatch-diffid"
	LayerCompression     Code = "layer-compression"
	LayerMalformed       Code = "layer-malformed"
	LayerBomb            Code = "layer-bomb"
	LayerSymlinkParent   Code = "layer-symlink-parent"
	LayerParent          Code = "layer-parent"
	TarMalformed         Code = "tar-malformed"
	TarTrailing          Code = "tar-trailing"
	TarLimit             Code = "tar-limit"
	TarPath              Code = "tar-path"
	TarNameEncoding      Code = "tar-name-encoding"
	TarNameLength        Code = "tar-name-length"
	TarType              Code = "tar-type"
	TarSparse            Code = "tar-sparse"
	TarDevice            Code = "tar-device"
	TarIDRange           Code = "tar-id-range"
	TarXattr             Code = "tar-xattr"
	TarWhiteout          Code = "tar-whiteout"
	TarHardlink          Code = "tar-hardlink"
	TarDuplicate         Code = "tar-duplicate"
	TarParent            Code = "tar-parent"
	TreeMalformed        Code = "tree-malformed"
	TreeZero             Code = "tree-zero"
	MountpointType       Code = "mountpoint-type"
)

var treeRows = []Row{
	{DigestMismatchDiffID, Denied, "a layer, uncompressed, is not the one that the image's config names", "verify/tree TestScanRefuses/diffid"},
	{LayerCompression, Denied, "a layer's media type names no compression that ztlaunch knows", "verify/tree TestDecompressRefuses/media-type"},
	{LayerMalformed, Denied, "a layer's compressed stream does not decode", "verify/tree TestDecompressRefuses/flipped"},
	{LayerBomb, Denied, "a layer expands beyond all proportion to its size", "verify/tree TestDecompressRefuses/bomb"},
	{LayerSymlinkParent, Denied, "a layer writes below a path that a lower layer made a symlink", "verify/tree TestMergeRefuses/symlink-parent"},
	{LayerParent, Denied, "a layer writes below a path that a lower layer made something else than a directory", "verify/tree TestMergeRefuses/file-parent"},
	{TarMalformed, Denied, "a layer is not a well-formed tar", "verify/tree TestScanRefuses/malformed"},
	{TarTrailing, Denied, "a layer carries data behind the end of its tar", "verify/tree TestScanRefuses/trailing"},
	{TarLimit, Denied, "a layer has more entries, bytes or names than ztlaunch reads", "verify/tree TestScanRefuses/entries"},
	{TarPath, Denied, "a layer names an absolute path, or one with \"..\"", "verify/tree TestScanRefuses/dotdot"},
	{TarNameEncoding, Denied, "a layer names a path that is not UTF-8", "verify/tree TestScanRefuses/latin1"},
	{TarNameLength, Denied, "a layer names a path that is longer than Linux takes", "verify/tree TestScanRefuses/long-name"},
	{TarType, Denied, "a layer holds an entry of a type that no image needs", "verify/tree TestScanRefuses/type"},
	{TarSparse, Denied, "a layer holds a sparse file", "verify/tree TestScanRefuses/sparse-pax"},
	{TarDevice, Denied, "a layer holds a device node outside /dev", "verify/tree TestScanRefuses/device"},
	{TarIDRange, Denied, "a layer holds an owner outside 0..65535", "verify/tree TestScanRefuses/uid"},
	{TarXattr, Denied, "a layer holds an extended attribute that steers overlayfs, or too many", "verify/tree TestScanRefuses/overlay-xattr"},
	{TarWhiteout, Denied, "a layer holds a whiteout that hides nothing nameable", "verify/tree TestScanRefuses/whiteout-bare"},
	{TarHardlink, Denied, "a layer holds a hard link to something that is not a file of the image", "verify/tree TestMergeRefuses/hardlink-missing"},
	{TarDuplicate, Denied, "a layer names one path twice, differently", "verify/tree TestScanRefuses/duplicate"},
	{TarParent, Denied, "a layer writes below one of its own files or symlinks", "verify/tree TestScanRefuses/write-through"},
	{TreeMalformed, CannotTell, "a kept tree does not read back", "verify/tree TestDecodeRefuses/header"},
	{TreeZero, Internal, "a tree was used that nothing made", "verify/tree TestZero"},
	{MountpointType, Denied, "a path that the box mounts on is a symlink or of the wrong type in the image", "verify/tree TestSkeletonRefuses/symlink"},
}
