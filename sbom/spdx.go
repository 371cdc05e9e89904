package sbom

import "fmt"

// readSPDX reads SPDX 2.2 and 2.3 JSON: the members named in the package
// comment, from https://spdx.github.io/spdx-spec/v2.3/ sections 6, 7, 8, 11.
func readSPDX(raw string) (Document, error) {
	r := spdx{scan: &scan{b: raw}, fileAt: map[string]int{}}
	s := r.scan
	id := ""
	s.object(func(key string) {
		switch key {
		case "SPDXID":
			id = s.str()
		case "name":
			r.doc.Name = s.str()
		case "creationInfo":
			r.creation()
		case "documentDescribes":
			s.array(func() { r.described = append(r.described, s.str()) })
		case "packages":
			s.array(r.pkg)
		case "files":
			s.array(r.file)
		case "relationships":
			s.array(r.relationship)
		case "bomFormat":
			s.fail("both spdxVersion and bomFormat")
		default:
			s.skip()
		}
	})
	if err := s.end(); err != nil {
		return Document{}, err
	}
	if id != "SPDXRef-DOCUMENT" {
		return Document{}, fmt.Errorf("SPDXID %s, SPDXRef-DOCUMENT expected", shown(id))
	}
	return r.join()
}

type spdx struct {
	*scan
	doc       Document
	described []string
	fileAt    map[string]int // SPDXID -> index in doc.Files
	owns      []owning
	sums      []Hash // of the file being read
}

// owning is one "package contains element" statement, by SPDXID.
type owning struct{ pkg, file string }

func (r *spdx) creation() {
	r.object(func(key string) {
		switch key {
		case "created":
			r.doc.Created = r.str()
		case "creators":
			r.array(func() { r.doc.Tools = append(r.doc.Tools, r.str()) })
		default:
			r.skip()
		}
	})
}

func (r *spdx) pkg() {
	var p Package
	var files []string
	r.object(func(key string) {
		switch key {
		case "SPDXID":
			p.ID = r.str()
		case "name":
			p.Name = r.str()
		case "versionInfo":
			p.Version = r.str()
		case "checksums":
			p.Hashes = r.checksums(nil)
		case "hasFiles":
			r.array(func() { files = append(files, r.str()) })
		case "externalRefs":
			r.array(func() {
				var kind, at string
				r.object(func(key string) {
					switch key {
					case "referenceType":
						kind = r.str()
					case "referenceLocator":
						at = r.str()
					default:
						r.skip()
					}
				})
				if kind == "purl" && p.PURL == "" {
					p.PURL = at
				}
			})
		default:
			r.skip()
		}
	})
	if p.ID == "" {
		r.fail("package without SPDXID")
	}
	for _, f := range files {
		r.owns = append(r.owns, owning{p.ID, f})
	}
	r.doc.Packages = append(r.doc.Packages, p)
}

func (r *spdx) checksums(out []Hash) []Hash {
	r.array(func() {
		var algorithm, value string
		r.object(func(key string) {
			switch key {
			case "algorithm":
				algorithm = r.str()
			case "checksumValue":
				value = r.str()
			default:
				r.skip()
			}
		})
		out = append(out, hash(algorithm, value))
	})
	return out
}

func (r *spdx) file() {
	var id, name string
	r.sums = r.sums[:0]
	r.object(func(key string) {
		switch key {
		case "SPDXID":
			id = r.str()
		case "fileName":
			name = r.str()
		case "checksums":
			r.sums = r.checksums(r.sums[:0])
		default:
			r.skip()
		}
	})
	sum, err := sum256(r.sums)
	switch {
	case r.err != nil:
	case id == "" || name == "":
		r.fail("file without SPDXID or fileName")
	case err != nil:
		r.fail("file %s: %v", shown(name), err)
	}
	if _, twice := r.fileAt[id]; twice {
		r.fail("SPDXID %s appears twice", shown(id))
	}
	r.fileAt[id] = len(r.doc.Files)
	r.doc.Files = append(r.doc.Files, File{Path: clean(name), SHA256: sum, Owner: NoOwner})
}

func (r *spdx) relationship() {
	var from, kind, to string
	r.object(func(key string) {
		switch key {
		case "spdxElementId":
			from = r.str()
		case "relationshipType":
			kind = r.str()
		case "relatedSpdxElement":
			to = r.str()
		default:
			r.skip()
		}
	})
	switch kind {
	case "CONTAINS":
		r.owns = append(r.owns, owning{from, to})
	case "CONTAINED_BY":
		r.owns = append(r.owns, owning{to, from})
	case "DESCRIBES":
		r.described = append(r.described, to)
	case "DESCRIBED_BY":
		r.described = append(r.described, from)
	}
}

// join resolves ownership once every element is known; members of an SPDX
// document come in any order.
func (r *spdx) join() (Document, error) {
	packages := make(map[string]int, len(r.doc.Packages))
	for i, p := range r.doc.Packages {
		if _, twice := packages[p.ID]; twice {
			return Document{}, fmt.Errorf("SPDXID %s appears twice", shown(p.ID))
		}
		if _, twice := r.fileAt[p.ID]; twice {
			return Document{}, fmt.Errorf("SPDXID %s appears twice", shown(p.ID))
		}
		packages[p.ID] = i
	}
	whole := make(map[string]bool, len(r.described))
	for _, id := range r.described {
		whole[id] = true
	}
	for _, o := range r.owns {
		p, isPackage := packages[o.pkg]
		f, isFile := r.fileAt[o.file]
		if isPackage && isFile && !whole[o.pkg] && r.doc.Files[f].Owner == NoOwner {
			r.doc.Files[f].Owner = p
		}
	}
	return r.doc, nil
}
