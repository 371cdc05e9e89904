package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const schemaURL = "https://github.com/ztlaunch/ztlaunch/verify/policy/policy.schema.json"

// compiled is the schema, ready to validate.
var compiled = sync.OnceValue(func() *jsonschema.Compiler {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		panic(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4) // $schema must say which it is
	if err := c.AddResource(schemaURL, doc); err != nil {
		panic(err)
	}
	return c
})

// valid holds a value against the schema, or the part of it at a pointer.
func valid(t testing.TB, pointer string, value any) error {
	t.Helper()
	s, err := compiled().Compile(schemaURL + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

// plain is a document as JSON values.
func plain(t testing.TB, doc string) any {
	t.Helper()
	d := form.Parse("policy.yaml", []byte(doc))
	raw := d.Root().JSON()
	if d.Err() != nil {
		t.Fatal(d.Err())
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func parsed(t testing.TB, value any) error {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse(raw, "policy.yaml", keyFile)
	return err
}

// corpus is every policy of testdata that the reader takes, by file.
func corpus(t testing.TB) map[string]any {
	t.Helper()
	docs := map[string]string{}
	for _, file := range []string{"full.yaml", "every.yaml"} {
		raw, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		docs[file] = string(raw)
	}
	for _, file := range cases(t, "evaluate", 60) {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if doc := part(a, "policy.yaml"); doc != "" {
			docs[file] = doc
		}
	}
	out := map[string]any{}
	for name, doc := range docs {
		v := plain(t, expand(t, doc, nil))
		if err := parsed(t, v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = v
	}
	return out
}

// beyond are the cases of TestParse that no schema can tell from good ones, and
// why.
var beyond = map[string]string{
	"key-window-reversed": "compares two values",
	"minimum-age-above":   "compares two values",
	"max-age-key":         "names what is elsewhere",
	"max-age-key-test":    "names what is elsewhere",
	"box-private":         "the bits behind a prefix",
	"pattern-builder":     "names what is elsewhere",
}

// agrees holds the schema against one case of TestParse: what is read is valid,
// and what has the wrong shape is not.
func agrees(t *testing.T, name, doc string, want reason.Code) {
	t.Helper()
	d := form.Parse("policy.yaml", []byte(doc))
	raw := d.Root().JSON()
	if d.Err() != nil {
		return // no document at all
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	err = valid(t, "", v)
	switch want {
	case "":
		if err != nil {
			t.Errorf("the reader takes it, and policy.schema.json does not: %v", err)
		}
	case reason.FormUnknownKey, reason.FormMissingKey, reason.FormValue, reason.PolicyPattern, reason.PolicyRuleEmpty, reason.PolicyLevel:
		if why := beyond[name]; (err == nil) != (why != "") {
			t.Errorf("the reader refuses it (%s); policy.schema.json says %v, and beyond[%q] is %q", want, err, name, why)
		}
	}
}

// pattern of the schema's own parts: a JSON pointer and what is there.
type node struct {
	at     string
	schema map[string]any
}

// alternatives are a schema and everything that it refers to or is made of.
func alternatives(root map[string]any, n node) []node {
	out := []node{n}
	if ref, ok := n.schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/$defs/")
		out = append(out, alternatives(root, node{ref, root["$defs"].(map[string]any)[name].(map[string]any)})...)
	}
	for _, word := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := n.schema[word].([]any)
		for i, s := range list {
			if s, ok := s.(map[string]any); ok {
				out = append(out, alternatives(root, node{fmt.Sprintf("%s/%s/%d", n.at, word, i), s})...)
			}
		}
	}
	return out
}

// below are the schemas for a key of a mapping, or for the elements of a list.
func below(root map[string]any, from []node, key string) (out []node) {
	for _, n := range from {
		at, v := n.at+"/properties/"+key, any(nil)
		if key == "" {
			at, v = n.at+"/items", n.schema["items"]
		} else if properties, _ := n.schema["properties"].(map[string]any); properties != nil {
			v = properties[key]
		}
		if s, ok := v.(map[string]any); ok {
			out = append(out, alternatives(root, node{at, s})...)
		}
	}
	return out
}

// free are the schemas for the values of a mapping whose keys are the writer's.
func free(root map[string]any, from []node) (out []node) {
	for _, n := range from {
		if s, ok := n.schema["additionalProperties"].(map[string]any); ok {
			out = append(out, alternatives(root, node{n.at + "/additionalProperties", s})...)
		}
	}
	return out
}

// fixed are the keys that mappings with these schemas may have, and that their
// definition (and no narrowing of it) has.
func fixed(from []node) []string {
	keys := map[string]bool{}
	for _, n := range from {
		if n.schema["additionalProperties"] != false {
			continue
		}
		properties, _ := n.schema["properties"].(map[string]any)
		for k := range properties {
			keys[k] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// TestSchemaIsTheReader holds the published schema and the reader against each
// other, at every mapping of every policy of testdata: the reader is given a key
// that nobody knows and says which it knows, and the schema must list the same.
// Every key of the schema stands in some policy that the reader takes.
func TestSchemaIsTheReader(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	met, asked := map[string]bool{}, map[string]bool{}
	for name, doc := range corpus(t) {
		var walk func(v any, path string, set func(any), schemas []node)
		walk = func(v any, path string, set func(any), schemas []node) {
			switch v := v.(type) {
			case []any:
				for i := range v {
					walk(v[i], path+"[]", func(x any) { v[i] = x }, below(root, schemas, ""))
				}
			case map[string]any:
				keys, values := fixed(schemas), free(root, schemas)
				if keys == nil && values == nil {
					t.Errorf("%s: %s: policy.schema.json knows no mapping here; describe it there", name, path)
					return
				}
				for k := range v {
					met[path+"."+k] = true
					for _, n := range schemas {
						met[n.at+"/properties/"+k] = true
					}
					child := below(root, schemas, k)
					if keys == nil {
						walk(v[k], path+".NAME", func(x any) { v[k] = x }, values)
					} else {
						walk(v[k], path+"."+k, func(x any) { v[k] = x }, child)
					}
				}
				if keys == nil || asked[path] {
					return
				}
				asked[path] = true
				with := maps.Clone(v)
				with["nobody-knows"] = json.Number("1")
				set(with)
				err := parsed(t, doc)
				set(v)
				e, ok := reason.Of(err)
				if !ok || e.Code != reason.FormUnknownKey {
					t.Errorf("%s: %s takes a key that nobody knows: %v", name, path, err)
					return
				}
				known := strings.Split(strings.TrimPrefix(e.Expected, "one of "), ", ")
				for _, k := range known {
					if !slices.Contains(keys, k) {
						t.Errorf("%s: the reader knows %q: add it in policy.schema.json under properties of one of %s, with a description", path, k, spelled(schemas))
					}
				}
				for _, k := range keys {
					if !slices.Contains(known, k) {
						t.Errorf("%s: policy.schema.json has %q in one of %s, and the reader knows no such key: remove it", path, k, spelled(schemas))
					}
				}
			}
		}
		top := doc
		walk(doc, "", func(x any) { top = x; doc = top }, alternatives(root, node{"#", root}))
	}
	if len(asked) < 20 {
		t.Errorf("only %d mappings were asked", len(asked))
	}
	objects(root, "#", func(n node) {
		properties, _ := n.schema["properties"].(map[string]any)
		if n.schema["additionalProperties"] != false {
			return
		}
		for k := range properties {
			if !met[n.at+"/properties/"+k] {
				t.Errorf("no policy of testdata shows %s/properties/%s: put it into testdata/every.yaml", n.at, k)
			}
		}
	})
}

func spelled(nodes []node) string {
	var all []string
	for _, n := range nodes {
		if n.schema["additionalProperties"] == false {
			all = append(all, n.at)
		}
	}
	return strings.Join(all, " ")
}

// objects visits every schema of the file.
func objects(v any, at string, f func(node)) {
	switch v := v.(type) {
	case map[string]any:
		f(node{at, v})
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if k != "examples" && k != "default" && k != "const" && k != "enum" {
				objects(v[k], at+"/"+strings.ReplaceAll(k, "~", "~0"), f)
			}
		}
	case []any:
		for i := range v {
			objects(v[i], fmt.Sprintf("%s/%d", at, i), f)
		}
	}
}

// TestSchemaTakesWhatIsRead: every policy of testdata is valid. What the reader
// refuses for want of a key is not, and what the schema refuses the reader does.
func TestSchemaTakesWhatIsRead(t *testing.T) {
	missing := 0
	for name, doc := range corpus(t) {
		if err := valid(t, "", doc); err != nil {
			t.Errorf("%s: the reader takes it, and policy.schema.json does not: %v", name, err)
			continue
		}
		without(doc, func(path string) {
			read, held := parsed(t, doc), valid(t, "", doc)
			e, _ := reason.Of(read)
			switch {
			case read == nil && held != nil:
				t.Errorf("%s without %s: the reader takes it, and policy.schema.json does not: %v", name, path, held)
			case e != nil && e.Code == reason.FormMissingKey && held == nil:
				t.Errorf("%s without %s: the reader says %v, and policy.schema.json takes it: add it under required", name, path, read)
			case e != nil && e.Code == reason.FormMissingKey:
				missing++
			}
		})
	}
	others, err := filepath.Glob("fixture/testdata/*/policy.yaml")
	if err != nil || len(others) < 3 {
		t.Fatalf("%d policies of fixtures, %v", len(others), err)
	}
	for _, file := range others {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, "", plain(t, string(raw))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if missing < 50 {
		t.Errorf("only %d keys are missed", missing)
	}
}

// without calls f for each key of each mapping, while that key is away.
func without(v any, f func(path string)) {
	var walk func(v any, path string)
	walk = func(v any, path string) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				was := v[k]
				delete(v, k)
				f(path + "." + k)
				v[k] = was
				walk(was, path+"."+k)
			}
		case []any:
			for i := range v {
				walk(v[i], fmt.Sprintf("%s[%d]", path, i))
			}
		}
	}
	walk(v, "")
}

// TestSchemaIsStrict: no mapping takes keys that it does not describe, every key
// says what it is for, and every example is one.
func TestSchemaIsStrict(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	if root["$schema"] != "https://json-schema.org/draft/2020-12/schema" || root["$id"] != schemaURL {
		t.Errorf("it says it is %v, %v", root["$schema"], root["$id"])
	}
	var s sketch
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	examples, described := 0, 0
	objects(root, "#", func(n node) {
		if n.schema["type"] == "object" && n.schema["additionalProperties"] == nil {
			t.Errorf("%s takes any key", n.at)
		}
		if n.schema["additionalProperties"] == false {
			for k, v := range n.schema["properties"].(map[string]any) {
				raw, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				var is sketch
				if err := json.Unmarshal(raw, &is); err != nil {
					t.Fatal(err)
				}
				if described++; is.target(s).Description == "" {
					t.Errorf("%s/properties/%s does not say what it is for", n.at, k)
				}
			}
		}
		list, _ := n.schema["examples"].([]any)
		for _, e := range list {
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			examples++
			if err := valid(t, n.at, v); err != nil {
				t.Errorf("%s: the example %s is none: %v", n.at, raw, err)
			}
		}
	})
	if examples < 40 || described < 70 {
		t.Errorf("%d examples, %d keys", examples, described)
	}
}
