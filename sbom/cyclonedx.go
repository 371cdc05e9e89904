package sbom

// readCycloneDX reads CycloneDX 1.4 to 1.7 JSON (ECMA-424): metadata and
// components, nested ones included.
func readCycloneDX(raw string) (Document, error) {
	r := cyclonedx{scan: &scan{b: raw}}
	s := r.scan
	s.object(func(key string) {
		switch key {
		case "metadata":
			r.metadata()
		case "components":
			s.array(func() { r.component(NoOwner) })
		case "spdxVersion":
			s.fail("both bomFormat and spdxVersion")
		default:
			s.skip()
		}
	})
	if err := s.end(); err != nil {
		return Document{}, err
	}
	for i, f := range r.doc.Files {
		r.doc.Files[i].Owner = r.owner(f.Owner)
	}
	return r.doc, nil
}

type cyclonedx struct {
	*scan
	doc   Document
	parts []part
}

func (r *cyclonedx) metadata() {
	r.object(func(key string) {
		switch key {
		case "timestamp":
			r.doc.Created = r.str()
		case "tools":
			r.tools()
		case "component":
			r.doc.Name = r.main()
		default:
			r.skip()
		}
	})
}

// main is the name of the component that the document is about; parts nested
// in it are not files of the artifact's root and are not kept.
func (r *cyclonedx) main() (name string) {
	r.object(func(key string) {
		if key == "name" {
			name = r.str()
			return
		}
		r.skip()
	})
	return name
}

// tools has two forms: a list (1.4, deprecated since 1.5) and an object with
// components and services.
func (r *cyclonedx) tools() {
	if r.peek() == '[' {
		r.array(r.tool)
		return
	}
	r.object(func(key string) {
		if key == "components" {
			r.array(r.tool)
			return
		}
		r.skip()
	})
}

func (r *cyclonedx) tool() {
	var name, version string
	r.object(func(key string) {
		switch key {
		case "name":
			name = r.str()
		case "version":
			version = r.str()
		default:
			r.skip()
		}
	})
	if version != "" {
		name += " " + version
	}
	r.doc.Tools = append(r.doc.Tools, name)
}

// part is one component, known by its serial number (its place in
// cyclonedx.parts): a component's own type may come after its nested
// components, so owners are serial numbers until all is read.
type part struct {
	parent int // serial number, or NoOwner
	file   bool
	whole  bool // stands for a whole system: owns no path by itself
	pkg    int  // index into doc.Packages, unless file
}

// whole: the component types that stand for an artifact as a whole.
func whole(kind string) bool {
	switch kind {
	case "container", "operating-system", "platform", "device", "firmware":
		return true
	}
	return false
}

func (r *cyclonedx) component(parent int) {
	var kind, name string
	var p Package
	serial := len(r.parts)
	r.parts = append(r.parts, part{parent: parent})
	r.object(func(key string) {
		switch key {
		case "type":
			kind = r.str()
		case "name":
			name = r.str()
		case "bom-ref":
			p.ID = r.str()
		case "version":
			p.Version = r.str()
		case "purl":
			p.PURL = r.str()
		case "hashes":
			p.Hashes = r.hashes()
		case "components":
			r.array(func() { r.component(serial) })
		default:
			r.skip()
		}
	})
	if r.err != nil {
		return
	}
	if kind == "" || name == "" {
		r.fail("component without type or name")
		return
	}
	if kind != "file" {
		p.Name = name
		r.parts[serial].whole, r.parts[serial].pkg = whole(kind), len(r.doc.Packages)
		r.doc.Packages = append(r.doc.Packages, p)
		return
	}
	sum, err := sum256(p.Hashes)
	if err != nil {
		r.fail("file %s: %v", shown(name), err)
		return
	}
	r.parts[serial].file = true
	r.doc.Files = append(r.doc.Files, File{Path: clean(name), SHA256: sum, Owner: parent})
}

// owner turns the serial number of a file's parent into the package that owns
// the file. What is nested in a file belongs to that file's owner.
func (r *cyclonedx) owner(serial int) int {
	for serial != NoOwner && r.parts[serial].file {
		serial = r.parts[serial].parent
	}
	if serial == NoOwner || r.parts[serial].whole {
		return NoOwner
	}
	return r.parts[serial].pkg
}

func (r *cyclonedx) hashes() (out []Hash) {
	r.array(func() {
		var algorithm, value string
		r.object(func(key string) {
			switch key {
			case "alg":
				algorithm = r.str()
			case "content":
				value = r.str()
			default:
				r.skip()
			}
		})
		out = append(out, hash(algorithm, value))
	})
	return out
}
