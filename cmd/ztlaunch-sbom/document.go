package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	stereoscope "github.com/anchore/stereoscope/pkg/file"
	syft "github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging"
	"github.com/anchore/syft/syft/cataloging/filecataloging"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/format/common/cyclonedxhelpers"
	"github.com/anchore/syft/syft/format/common/spdxhelpers"
	"github.com/anchore/syft/syft/sbom"
	syftsource "github.com/anchore/syft/syft/source"
	"github.com/spdx/tools-golang/spdx"
	_ "modernc.org/sqlite" // the driver for RPM package databases
)

// describe writes the document of o's source to w. Warnings say what was left out.
func describe(ctx context.Context, o options, w io.Writer) (warnings []string, err error) {
	temp, err := os.MkdirTemp("", "ztlaunch-sbom-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()

	src, err := o.source.open(ctx, o, temp)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", o.source, err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()

	s, err := catalog(ctx, src)
	if err != nil {
		return nil, fmt.Errorf("catalog %s: %w", o.source, err)
	}
	warnings = unread(s)
	if o.format == "cyclonedx-json" {
		return warnings, writeCycloneDX(w, *s, o.created, warnings, o.source.root())
	}
	return warnings, writeSPDX(w, *s, o.created, warnings)
}

// catalog runs syft, and refuses a result in which a file has no digest.
func catalog(ctx context.Context, src syftsource.Source) (*sbom.SBOM, error) {
	cfg := syft.DefaultCreateSBOMConfig().
		WithTool("ztlaunch-sbom", version).
		WithFilesConfig(filecataloging.DefaultConfig().
			WithSelection(file.AllFilesSelection).
			WithHashers(crypto.SHA1, crypto.SHA256)).
		// What it learns of executables is in neither format.
		WithCatalogerSelection(cataloging.NewSelectionRequest().WithRemovals("file-executable-cataloger")).
		// A file in no package is listed by itself: that is no gap.
		WithUnknownsConfig(cataloging.UnknownsConfig{RemoveWhenPackagesDefined: true})
	s, err := syft.CreateSBOM(ctx, src, cfg)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	resolver, err := src.FileResolver(syftsource.SquashedScope)
	if err != nil {
		return nil, err
	}
	return s, complete(ctx, resolver, *s)
}

// complete errors on the first regular file, in no order, that has no SHA-256.
func complete(ctx context.Context, resolver file.Resolver, s sbom.SBOM) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for at := range resolver.AllLocations(ctx) {
		meta, err := resolver.FileMetadataByLocation(at)
		if err != nil {
			return fmt.Errorf("read %s: %w", at.RealPath, err)
		}
		switch meta.Type {
		case stereoscope.TypeRegular:
			if !slices.ContainsFunc(s.Artifacts.FileDigests[at.Coordinates], isSHA256) {
				return fmt.Errorf("read %s: not hashed", at.RealPath)
			}
		case stereoscope.TypeHardLink:
			return fmt.Errorf("read %s: hard link to %s, which its layer does not have", at.RealPath, meta.LinkDestination)
		default: // nothing to hash
		}
	}
	return ctx.Err()
}

func isSHA256(d file.Digest) bool { return d.Algorithm == "sha256" }

// unread says what catalogers could not read, sorted.
func unread(s *sbom.SBOM) []string {
	var all []string
	for at, reasons := range s.Artifacts.Unknowns {
		for _, r := range reasons {
			all = append(all, fmt.Sprintf("not cataloged: %s: %s", at.RealPath, r))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func writeSPDX(w io.Writer, s sbom.SBOM, created time.Time, warnings []string) error {
	doc := spdxhelpers.ToFormatModel(s)
	if doc == nil {
		return errors.New("syft made no SPDX document")
	}
	dropUnhashed(doc)
	slices.SortStableFunc(doc.Packages, func(a, b *spdx.Package) int {
		return cmp.Compare(a.PackageSPDXIdentifier, b.PackageSPDXIdentifier)
	})
	slices.SortStableFunc(doc.Relationships, func(a, b *spdx.Relationship) int {
		return cmp.Or(cmp.Compare(a.RefA.ElementRefID, b.RefA.ElementRefID),
			cmp.Compare(a.RefB.ElementRefID, b.RefB.ElementRefID),
			cmp.Compare(a.Relationship, b.Relationship), cmp.Compare(a.RelationshipComment, b.RelationshipComment))
	})
	doc.CreationInfo.Created = created.Format(time.RFC3339)
	doc.CreationInfo.Creators = []spdx.Creator{{CreatorType: "Tool", Creator: "ztlaunch-sbom-" + version}}
	doc.CreationInfo.CreatorComment = comment(warnings)
	doc.DocumentNamespace = ""
	raw, err := encode(doc)
	if err != nil {
		return err
	}
	doc.DocumentNamespace = urn(raw)
	if raw, err = encode(doc); err == nil {
		_, err = w.Write(raw)
	}
	return err
}

// dropUnhashed leaves out what syft lists with a SHA-1 of zeros, links and folders
// that packages own: it is not in any file list, and zeros are not its digest.
func dropUnhashed(doc *spdx.Document) {
	gone := map[spdx.ElementID]bool{}
	doc.Files = slices.DeleteFunc(doc.Files, func(f *spdx.File) bool {
		hashed := slices.ContainsFunc(f.Checksums, func(c spdx.Checksum) bool { return c.Algorithm == spdx.SHA256 })
		if !hashed {
			gone[f.FileSPDXIdentifier] = true
		}
		return !hashed
	})
	doc.Relationships = slices.DeleteFunc(doc.Relationships, func(r *spdx.Relationship) bool {
		return gone[r.RefA.ElementRefID] || gone[r.RefB.ElementRefID]
	})
}

// writeCycloneDX names files below root, if there is one, as they are named from there.
func writeCycloneDX(w io.Writer, s sbom.SBOM, created time.Time, warnings []string, root string) error {
	doc := cyclonedxhelpers.ToFormatModel(s)
	if root != "" && doc.Components != nil {
		for i, c := range *doc.Components {
			if c.Type == cyclonedx.ComponentTypeFile {
				(*doc.Components)[i].Name = strings.TrimPrefix(c.Name, root)
			}
		}
	}
	doc.Metadata.Timestamp = created.Format(time.RFC3339)
	if len(warnings) > 0 {
		properties := []cyclonedx.Property{{Name: "ztlaunch:incomplete", Value: comment(warnings)}}
		if doc.Metadata.Properties != nil {
			properties = append(*doc.Metadata.Properties, properties...)
		}
		doc.Metadata.Properties = &properties
	}
	doc.SerialNumber = ""
	raw, err := encode(doc)
	if err != nil {
		return err
	}
	doc.SerialNumber = urn(raw)
	if raw, err = encode(doc); err == nil {
		_, err = w.Write(raw)
	}
	return err
}

func encode(doc any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("write document: %w", err)
	}
	return out.Bytes(), nil
}

func comment(warnings []string) string {
	if len(warnings) == 0 {
		return ""
	}
	var b bytes.Buffer
	for i, w := range warnings {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(w)
	}
	return b.String()
}

// urn names a document by its content: a UUID of version 8 (RFC 9562), from SHA-256.
func urn(raw []byte) string {
	sum := sha256.Sum256(raw)
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
