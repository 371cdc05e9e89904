package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// report is what the task leaves in /work/out/report.json. The Python agent writes
// the same shape.
type report struct {
	Agent     string     `json:"agent"`
	Documents []document `json:"documents"`
	Words     int        `json:"words"`
	Counted   string     `json:"counted"` // "agent", or the server that counted
	Model     *model     `json:"model,omitempty"`
	Server    *server    `json:"server,omitempty"`
}

type document struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Lines  int    `json:"lines"`
	Words  int    `json:"words"`
}

// model is what the header of a safetensors file says of it.
type model struct {
	Name       string `json:"name"`
	Files      int    `json:"files"`
	Tensors    int    `json:"tensors"`
	Parameters int    `json:"parameters"`
}

func task(args []string, out io.Writer) error {
	f := flag.NewFlagSet("task", flag.ContinueOnError)
	work := f.String("work", "/work", "folder with in/ and out/")
	models := f.String("models", "/models", "folder of models")
	servers := f.String("mcp", "/run/ztlaunch/mcp.json", "list of MCP servers")
	if err := f.Parse(args); err != nil {
		return err
	}

	texts, err := read(filepath.Join(*work, "in"))
	if err != nil {
		return err
	}
	r := report{Agent: "goagent", Counted: "agent"}
	count := countHere
	s, err := connect(context.Background(), *servers)
	if err != nil {
		return err
	}
	if s != nil {
		r.Counted, r.Server, count = s.info.Name, &s.info, s.count
	}
	for _, t := range texts {
		d, err := count(t)
		if err != nil {
			return fmt.Errorf("count %s: %w", t.name, err)
		}
		r.Documents = append(r.Documents, d)
		r.Words += d.Words
	}
	if s != nil {
		if err := s.Close(); err != nil {
			return fmt.Errorf("close session: %w", err)
		}
	}
	if r.Model, err = readModel(*models); err != nil {
		return err
	}

	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(*work, "out"), 0o755); err != nil {
		return err
	}
	file := filepath.Join(*work, "out", "report.json")
	if err := os.WriteFile(file, append(body, '\n'), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d documents, %d words, counted by %s\n", file, len(r.Documents), r.Words, r.Counted)
	return err
}

type text struct {
	name string
	body []byte
}

func read(dir string) ([]text, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("read %s: no .txt file", dir)
	}
	var texts []text
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text{filepath.Base(name), body})
	}
	return texts, nil
}

func countHere(t text) (document, error) {
	sum := sha256.Sum256(t.body)
	return document{
		Name:   t.name,
		SHA256: hex.EncodeToString(sum[:]),
		Lines:  bytes.Count(t.body, []byte("\n")),
		Words:  len(strings.Fields(string(t.body))),
	}, nil
}

// readModel reads the first model folder: how many files it has, and what the
// headers of its safetensors files list. No folder is no model, not an error.
func readModel(dir string) (*model, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := &model{Name: entries[0].Name()}
	files, err := os.ReadDir(filepath.Join(dir, m.Name))
	if err != nil {
		return nil, err
	}
	m.Files = len(files)
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".safetensors" {
			continue
		}
		if err := m.header(filepath.Join(dir, m.Name, f.Name())); err != nil {
			return nil, fmt.Errorf("read model %s: %w", f.Name(), err)
		}
	}
	return m, nil
}

// header adds what one safetensors header lists.
func (m *model) header(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var size uint64
	if err := binary.Read(in, binary.LittleEndian, &size); err != nil {
		return err
	}
	if size > 100_000_000 {
		return fmt.Errorf("header of %d bytes", size)
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(in, raw); err != nil {
		return err
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return err
	}
	delete(entries, "__metadata__")
	for name, entry := range entries {
		var t struct {
			Shape []int `json:"shape"`
		}
		if err := json.Unmarshal(entry, &t); err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		m.Tensors++
		m.Parameters += n
	}
	return nil
}
