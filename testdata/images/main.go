// Images makes what tests and the demo run: OCI layouts and archives, damaged copies
// of them, and a tiny model folder. Everything it writes is the same each time.
//
//	images build -out DIR [-base TAR] [-add HOST=PATH[:MODE]]... [-link PATH=TARGET]... [-dir PATH]...
//	             [-text PATH=CONTENT]... [-entrypoint WORD]... [-cmd WORD]... [-env K=V]... [-user U]
//	             [-workdir PATH] [-volume PATH]... [-label K=V]... [-platform OS/ARCH] [-tag TAG]
//	images index -out DIR [-tag TAG] LAYOUT...        one image index over several layouts' images
//	images archive -out FILE -format oci|docker [-name REF] LAYOUT
//	images add -out DIR [-text PATH=CONTENT]... [-add HOST=PATH[:MODE]]... [-tag TAG] LAYOUT
//	images corrupt -blob ROLE [-how flip|truncate|extend|remove] LAYOUT   in place; ROLE as blobs prints it
//	images blobs LAYOUT                               one JSON line for each blob
//	images model -out DIR
//
// build, index and add print the digest that they wrote.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ztlaunch/ztlaunch/testdata/images/oci"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	verbs := map[string]func(*flag.FlagSet, []string) error{
		"build": build, "index": index, "archive": archive, "add": add, "corrupt": corrupt, "blobs": blobs, "model": model,
	}
	if len(args) == 0 || verbs[args[0]] == nil {
		return fmt.Errorf("want one of: add archive blobs build corrupt index model")
	}
	return verbs[args[0]](flag.NewFlagSet(args[0], flag.ContinueOnError), args[1:])
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// content holds the flags that put files into a layer.
type content struct{ add, link, dir, text list }

func (c *content) flags(f *flag.FlagSet) {
	f.Var(&c.add, "add", "HOST=PATH[:MODE]: a file of the host's")
	f.Var(&c.link, "link", "PATH=TARGET: a symbolic link")
	f.Var(&c.dir, "dir", "PATH: an empty folder")
	f.Var(&c.text, "text", "PATH=CONTENT: a file with this text")
}

func (c content) files() ([]oci.File, error) {
	var files []oci.File
	for _, s := range c.add {
		host, to, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("-add %q: want HOST=PATH[:MODE]", s)
		}
		mode := int64(0o755)
		if at := strings.LastIndex(to, ":"); at > 0 {
			m, err := strconv.ParseInt(to[at+1:], 8, 16)
			if err != nil {
				return nil, fmt.Errorf("-add %q: mode: %w", s, err)
			}
			to, mode = to[:at], m
		}
		body, err := os.ReadFile(host)
		if err != nil {
			return nil, err
		}
		files = append(files, oci.File{Path: to, Mode: mode, Body: body})
	}
	for _, s := range c.link {
		p, target, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("-link %q: want PATH=TARGET", s)
		}
		files = append(files, oci.File{Path: p, Link: target})
	}
	for _, p := range c.dir {
		files = append(files, oci.File{Path: p, Dir: true})
	}
	for _, s := range c.text {
		p, text, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("-text %q: want PATH=CONTENT", s)
		}
		files = append(files, oci.File{Path: p, Body: []byte(text)})
	}
	return files, nil
}

func build(f *flag.FlagSet, args []string) error {
	var c content
	var entrypoint, cmd, env, volume, label list
	c.flags(f)
	f.Var(&entrypoint, "entrypoint", "a word of the entrypoint")
	f.Var(&cmd, "cmd", "a word of the command")
	f.Var(&env, "env", "K=V")
	f.Var(&volume, "volume", "PATH")
	f.Var(&label, "label", "K=V")
	out := f.String("out", "", "layout folder to write")
	base := f.String("base", "", "root file system tar below the files")
	user := f.String("user", "", "user[:group]")
	workdir := f.String("workdir", "", "working folder")
	platform := f.String("platform", "linux/amd64", "os/architecture[/variant]")
	tag := f.String("tag", "latest", "tag in the layout")
	if err := parse(f, args, 0, out); err != nil {
		return err
	}
	files, err := c.files()
	if err != nil {
		return err
	}
	p, err := oci.ParsePlatform(*platform)
	if err != nil {
		return err
	}
	config := v1.Config{Entrypoint: entrypoint, Cmd: cmd, Env: env, User: *user, WorkingDir: *workdir}
	for _, v := range volume {
		if config.Volumes == nil {
			config.Volumes = map[string]struct{}{}
		}
		config.Volumes[v] = struct{}{}
	}
	for _, l := range label {
		k, v, _ := strings.Cut(l, "=")
		if config.Labels == nil {
			config.Labels = map[string]string{}
		}
		config.Labels[k] = v
	}
	image, err := oci.Build(oci.Spec{Base: *base, Files: files, Config: config, Platform: p})
	if err != nil {
		return err
	}
	return show(oci.Write(*out, image, *tag))
}

func index(f *flag.FlagSet, args []string) error {
	out := f.String("out", "", "layout folder to write")
	tag := f.String("tag", "latest", "tag in the layout")
	if err := parse(f, args, -1, out); err != nil {
		return err
	}
	var images []v1.Image
	for _, dir := range f.Args() {
		image, err := oci.Read(dir)
		if err != nil {
			return err
		}
		images = append(images, image)
	}
	return show(oci.WriteIndex(*out, *tag, images...))
}

func archive(f *flag.FlagSet, args []string) error {
	out := f.String("out", "", "archive to write")
	format := f.String("format", "oci", "oci or docker")
	name := f.String("name", "agent:latest", "reference in a docker archive")
	if err := parse(f, args, 1, out); err != nil {
		return err
	}
	switch *format {
	case "oci":
		return oci.WriteOCIArchive(*out, f.Arg(0))
	case "docker":
		return oci.WriteDockerArchive(*out, f.Arg(0), *name)
	}
	return fmt.Errorf("-format %q: want oci or docker", *format)
}

func add(f *flag.FlagSet, args []string) error {
	var c content
	c.flags(f)
	out := f.String("out", "", "layout folder to write")
	tag := f.String("tag", "latest", "tag in the layout")
	if err := parse(f, args, 1, out); err != nil {
		return err
	}
	files, err := c.files()
	if err != nil {
		return err
	}
	image, err := oci.Read(f.Arg(0))
	if err != nil {
		return err
	}
	if image, err = oci.Append(image, files...); err != nil {
		return err
	}
	return show(oci.Write(*out, image, *tag))
}

func corrupt(f *flag.FlagSet, args []string) error {
	role := f.String("blob", "layer0", "which blob, as blobs prints it")
	how := f.String("how", string(oci.Flip), "flip, truncate, extend or remove")
	if err := parse(f, args, 1, nil); err != nil {
		return err
	}
	all, err := oci.Blobs(f.Arg(0))
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.Role == *role {
			return oci.Corrupt(b.Path, oci.How(*how))
		}
	}
	return fmt.Errorf("corrupt %s: no blob %q", f.Arg(0), *role)
}

func blobs(f *flag.FlagSet, args []string) error {
	if err := parse(f, args, 1, nil); err != nil {
		return err
	}
	all, err := oci.Blobs(f.Arg(0))
	if err != nil {
		return err
	}
	for _, b := range all {
		line, err := json.Marshal(map[string]any{"role": b.Role, "digest": b.Digest.String(), "size": b.Size, "path": b.Path})
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return nil
}

func model(f *flag.FlagSet, args []string) error {
	out := f.String("out", "", "folder to write")
	if err := parse(f, args, 0, out); err != nil {
		return err
	}
	return writeModel(*out)
}

// parse reads the flags, wants n arguments (-1: one or more) and, where out is not
// nil, the -out flag.
func parse(f *flag.FlagSet, args []string, n int, out *string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if n >= 0 && f.NArg() != n || n < 0 && f.NArg() == 0 {
		return fmt.Errorf("%s: %d arguments", f.Name(), f.NArg())
	}
	if out != nil && *out == "" {
		return fmt.Errorf("%s: -out is missing", f.Name())
	}
	return nil
}

func show(digest v1.Hash, err error) error {
	if err == nil {
		fmt.Println(digest)
	}
	return err
}
