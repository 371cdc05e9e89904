// Bench measures whole commands side by side: each round runs every command once,
// so that a change of the machine's speed hits all alike. It prints medians and
// their ratio to `runc run` of the same root, or to `cosign verify` of the same
// evidence (see remote), and asserts nothing.
//
// Launches are measured twice. After a pause each command finds the machine as a
// person or a client finds it. Without one it profits from what the command before
// left behind: the kernel moves a process to another control group for nothing when
// somebody did so in the last 15 ms, and else after an RCU grace period, which is a
// third of a runc run. ztlaunch pays neither way, for it sees to that beside its
// verification.
//
//	bench [-n ROUNDS] [-only verify]
//
// ZTLAUNCH_BIN, ZTLAUNCH_IMAGES and ZTLAUNCH_DEBIAN say where things are. docker
// and podman are measured where they run.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// contender is one command under measurement.
type contender struct {
	name   string
	args   []string
	before func() error          // unmeasured; may be nil
	count  func() (int64, error) // requests that a registry got so far; may be nil
	times  []time.Duration
	peaks  []int64 // bytes resident
	asked  int64   // requests of the last round
}

func main() {
	rounds := flag.Int("n", 20, "rounds")
	only := flag.String("only", "", "verify: no launches")
	registry := flag.Bool("registry", false, "hold a registry for another bench")
	flag.Parse()
	do := func() error { return bench(*rounds, *only == "") }
	if *registry {
		do = hold
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(rounds int, launched bool) error {
	bin := os.Getenv("ZTLAUNCH_BIN")
	dir, err := os.MkdirTemp("/var/tmp", "ztlaunch-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	zt := []string{filepath.Join(bin, "ztlaunch"), "--root", filepath.Join(dir, "zt")}
	if err := errors.Join(os.Setenv("COSIGN_PASSWORD", ""), os.Chdir(dir)); err != nil {
		return err
	}
	if err := quiet(append(slices.Clone(zt), "key", "generate", "--output-key-prefix", "k")...); err != nil {
		return err
	}
	defer func() { _ = quiet(append(slices.Clone(zt), "store", "prune")...) }()
	if err := measure("start", rounds, 0, []*contender{{name: "ztlaunch version", args: append(slices.Clone(zt), "version")}}, ""); err != nil {
		return err
	}
	for _, image := range []struct{ name, layout string }{
		{"scratch", filepath.Join(os.Getenv("ZTLAUNCH_IMAGES"), "tools")}, {"debian", os.Getenv("ZTLAUNCH_DEBIAN")},
	} {
		if _, err := os.Stat(filepath.Join(image.layout, "index.json")); err != nil {
			fmt.Printf("%s: no image at %s\n", image.name, image.layout)
			continue
		}
		if err := remote(image.name, image.layout, zt, rounds); err != nil {
			return err
		}
		if !launched {
			continue
		}
		if err := launches(image.name, image.layout, bin, zt, rounds); err != nil {
			return err
		}
	}
	return nil
}

// launches measures a warm `true` on one image.
func launches(name, layout, bin string, zt []string, rounds int) error {
	if err := os.CopyFS(name, os.DirFS(layout)); err != nil {
		return err
	}
	ref := "oci-layout:./" + name
	if err := quiet(append(slices.Clone(zt), "sign", "--key", "k.key", ref)...); err != nil {
		return err
	}
	root, size, err := unpack(name)
	if err != nil {
		return err
	}
	runc := filepath.Join(bin, "ztlaunch-runc")
	bundle, err := makeBundle(runc, root)
	if err != nil {
		return err
	}
	all := []*contender{
		{name: "runc run", args: []string{runc, "--root", filepath.Join(filepath.Dir(bundle), "runc-"+name), "run", "--bundle", bundle, "bench"}},
		{name: "ztlaunch run", args: append(slices.Clone(zt), "run", "--rm", "--key", "k.pub", ref, "true")},
	}
	archive, _ := filepath.Abs(name + ".tar")
	images := filepath.Join(filepath.Dir(bin), ".cache", "testbin", "images")
	if quiet(images, "archive", "-out", archive, "-format", "docker", "-name", "localhost/bench-"+name+":1", layout) == nil {
		if quiet("docker", "load", "-i", archive) == nil {
			all = append(all, &contender{name: "docker run", args: []string{"docker", "run", "--rm", "--network", "none", "localhost/bench-" + name + ":1", "true"}})
		}
		podman := []string{"podman", "--runtime", runc}
		if quiet(append(slices.Clone(podman), "load", "-i", archive)...) == nil {
			all = append(all, &contender{name: "podman run", args: append(podman, "run", "--rm", "--network", "none",
				"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "localhost/bench-"+name+":1", "true")})
		}
	}
	title := fmt.Sprintf("warm `true`, %s image (%.1f MB unpacked)", name, float64(size)/1e6)
	if err := measure(title+", after a pause", rounds, pause, all, "runc run"); err != nil {
		return err
	}
	return measure(title+", back to back", rounds, 0, all, "runc run")
}

// pause is longer than anything that the kernel keeps ready for a while.
const pause = 200 * time.Millisecond

// measure runs every command once unmeasured, then in rounds.
func measure(title string, rounds int, pause time.Duration, all []*contender, base string) error {
	for _, c := range all {
		if err := c.run(0); err != nil {
			return err
		}
		c.times, c.peaks = nil, nil
	}
	for range rounds {
		for _, c := range all {
			if err := c.run(pause); err != nil {
				return err
			}
		}
	}
	fmt.Printf("\n%s, %d rounds\n", title, rounds)
	var unit time.Duration
	var resident int64
	for _, c := range all {
		slices.Sort(c.times)
		slices.Sort(c.peaks)
		if c.name == base {
			unit, resident = c.times[len(c.times)/2], c.peaks[len(c.peaks)/2]
		}
	}
	for _, c := range all {
		median := c.times[len(c.times)/2]
		fmt.Printf("  %-18s median %7.1f ms  min %7.1f  max %7.1f", c.name, ms(median), ms(c.times[0]), ms(c.times[len(c.times)-1]))
		if unit > 0 {
			fmt.Printf("  %.2fx %s", float64(median)/float64(unit), base)
		}
		if c.count != nil {
			peak := c.peaks[len(c.peaks)/2]
			fmt.Printf("  peak %.1f MB, %.2fx  %d requests", float64(peak)/1e6, float64(peak)/float64(resident), c.asked)
		}
		fmt.Println()
	}
	return nil
}

// run runs the command once, after a pause, and notes what it took.
func (c *contender) run(pause time.Duration) error {
	var before int64
	if c.before != nil {
		if err := c.before(); err != nil {
			return err
		}
	}
	if c.count != nil {
		var err error
		if before, err = c.count(); err != nil {
			return err
		}
	}
	time.Sleep(pause)
	start := time.Now()
	resident, err := peak(c.args...)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.times, c.peaks = append(c.times, time.Since(start)), append(c.peaks, resident)
	if c.count != nil {
		after, err := c.count()
		c.asked = after - before
		return err
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quiet runs a command and returns its last words when it fails.
func quiet(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// unpack extracts an image's layers for runc, with tar(1).
func unpack(layout string) (root string, size int64, err error) {
	root, err = filepath.Abs(layout + ".root")
	if err != nil {
		return "", 0, err
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", 0, err
	}
	var index struct{ Manifests []struct{ Digest string } }
	var manifest struct{ Layers []struct{ Digest string } }
	blob := func(d string) string {
		return filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(d, "sha256:"))
	}
	if err := read(filepath.Join(layout, "index.json"), &index); err != nil {
		return "", 0, err
	}
	if err := read(blob(index.Manifests[0].Digest), &manifest); err != nil {
		return "", 0, err
	}
	for _, l := range manifest.Layers {
		if err := quiet("tar", "-xf", blob(l.Digest), "-C", root); err != nil {
			return "", 0, err
		}
	}
	err = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if info, ierr := d.Info(); err == nil && ierr == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	})
	return root, size, err
}

func read(name string, v any) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// makeBundle is runc's own default box around the root.
func makeBundle(runc, root string) (string, error) {
	bundle := root + ".bundle"
	if err := os.Mkdir(bundle, 0o755); err != nil {
		return "", err
	}
	if err := quiet(runc, "spec", "--bundle", bundle); err != nil {
		return "", err
	}
	var spec map[string]any
	if err := read(filepath.Join(bundle, "config.json"), &spec); err != nil {
		return "", err
	}
	process := spec["process"].(map[string]any)
	process["terminal"], process["args"] = false, []string{"true"}
	process["env"] = []string{"PATH=/bin:/usr/bin"}
	delete(process, "rlimits")
	spec["root"] = map[string]any{"path": root, "readonly": true}
	for _, dir := range []string{"proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	return bundle, os.WriteFile(filepath.Join(bundle, "config.json"), raw, 0o644)
}
