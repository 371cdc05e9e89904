// Package agents holds the two agents against each other and against a real MCP
// server: the same folder, model and server must give the same report.
package agents

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// build compiles a program of this tree.
func build(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if words, err := exec.Command("go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, words)
	}
	return out
}

// folder makes a work folder with two documents, and a model.
func folder(t *testing.T) (work, models string) {
	t.Helper()
	dir := t.TempDir()
	work, models = filepath.Join(dir, "work"), filepath.Join(dir, "models")
	for name, body := range map[string]string{
		"work/in/a.txt":    "one two\nthree\n",
		"work/in/b.txt":    "  vier fünf\tsechs ",
		"work/in/skip.bin": "not a text",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if words, err := exec.Command("go", "run", "../images", "model", "-out", filepath.Join(models, "tiny")).CombinedOutput(); err != nil {
		t.Fatalf("make model: %v\n%s", err, words)
	}
	return work, models
}

// bridge serves a stdio server over Streamable HTTP, as the launcher does for a
// task, and returns the file that lists it.
func bridge(t *testing.T, program string) string {
	t.Helper()
	ctx := context.Background()
	back, err := mcp.NewClient(&mcp.Implementation{Name: "bridge", Version: "1"}, nil).
		Connect(ctx, &mcp.CommandTransport{Command: exec.Command(program)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := back.Close(); err != nil {
			t.Error("close server:", err)
		}
	})
	front := mcp.NewServer(&mcp.Implementation{Name: "bridge", Version: "1"}, nil)
	for tool, err := range back.Tools(ctx, nil) {
		if err != nil {
			t.Fatal(err)
		}
		front.AddTool(tool, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return back.CallTool(ctx, &mcp.CallToolParams{Name: r.Params.Name, Arguments: r.Params.Arguments})
		})
	}
	web := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return front }, nil))
	t.Cleanup(web.Close)
	list, err := json.Marshal(map[string]any{"mcpServers": map[string]any{"notes": map[string]string{"type": "http", "url": web.URL + "/mcp"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mcp.json")
	if err := os.WriteFile(file, list, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAgentsAgree(t *testing.T) {
	agents := map[string][]string{"goagent": {build(t, "./goagent")}}
	if python, err := exec.LookPath("python3"); err == nil {
		agents["pyagent"] = []string{python, "pyagent/agent.py"}
	} else {
		t.Log("python3 absent: goagent alone")
	}
	notes := bridge(t, build(t, "../servers/notes"))
	absent := filepath.Join(t.TempDir(), "absent")

	for name, c := range map[string]struct {
		servers string
		counted string
	}{
		"alone":       {servers: absent, counted: "agent"},
		"with server": {servers: notes, counted: "notes"},
	} {
		t.Run(name, func(t *testing.T) {
			work, models := folder(t)
			for agent, words := range agents {
				dash := "--"
				words = append(words, dash+"work", work, dash+"models", models, dash+"mcp", c.servers)
				if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", agent, err, out)
				}
				raw, err := os.ReadFile(filepath.Join(work, "out", "report.json"))
				if err != nil {
					t.Fatal(err)
				}
				var got map[string]any
				if err := json.Unmarshal(raw, &got); err != nil {
					t.Fatal(err)
				}
				want := map[string]any{
					"agent": agent, "counted": c.counted, "words": 6.0,
					"documents": []any{
						map[string]any{"name": "a.txt", "sha256": "6481b98de00b3b8c0eccd56b3877aa72d7cbb9c2b97142fa35f7177f9456926d", "lines": 2.0, "words": 3.0},
						map[string]any{"name": "b.txt", "sha256": "7237ba5e43a1ee8443580e110909d863a5f45d42c04f010675297440dd944cde", "lines": 0.0, "words": 3.0},
					},
					"model": map[string]any{"name": "tiny", "files": 3.0, "tensors": 2.0, "parameters": 64.0},
				}
				if c.counted == "notes" {
					want["server"] = map[string]any{"name": "notes", "tools": []any{"list_terms", "lookup", "word_count"}}
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s reports\n%v\nwant\n%v", agent, got, want)
				}
			}
		})
	}
}

func TestAgentRefusesNothingToDo(t *testing.T) {
	out, err := exec.Command(build(t, "./goagent"), "-work", t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no .txt file") {
		t.Errorf("goagent without documents: %v\n%s", err, out)
	}
}

// TestProbeTells runs attempts whose answer is known here: this process may read
// and write its own folder and may not read what is not there.
func TestProbeTells(t *testing.T) {
	agent := build(t, "./goagent")
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(nil)
	t.Cleanup(listener.Close)
	for name, c := range map[string]struct {
		words   []string
		outcome string
		errno   string
	}{
		"write":       {words: []string{"write", filepath.Join(dir, "f")}, outcome: "allowed"},
		"file":        {words: []string{"file", "/proc/self/status"}, outcome: "allowed"},
		"folder":      {words: []string{"file", "/"}, outcome: "allowed"},
		"file absent": {words: []string{"file", filepath.Join(dir, "absent")}, outcome: "refused", errno: "ENOENT"},
		"write under": {words: []string{"write", "/proc/self/status/x"}, outcome: "refused", errno: "ENOTDIR"},
		"exec":        {words: []string{"exec", agent}, outcome: "allowed"},
		"exec not":    {words: []string{"exec", plain}, outcome: "refused", errno: "EACCES"},
		"drop":        {words: []string{"drop", dir}, outcome: "allowed"},
		"net":         {words: []string{"net", strings.TrimPrefix(listener.URL, "http://")}, outcome: "allowed"},
		"net closed":  {words: []string{"net", "127.0.0.1:1"}, outcome: "refused", errno: "ECONNREFUSED"},
		"syscall":     {words: []string{"syscall", "getpid"}, outcome: "allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command(agent, append([]string{"probe"}, c.words...)...).Output()
			var got struct{ Outcome, Errno string }
			if uerr := json.Unmarshal(out, &got); uerr != nil {
				t.Fatalf("%v: %q", uerr, out)
			}
			if (err == nil) != (got.Outcome == "allowed") {
				t.Errorf("exit %v beside outcome %s", err, got.Outcome)
			}
			if c.outcome != "" && (got.Outcome != c.outcome || got.Errno != c.errno) {
				t.Errorf("got %s %s, want %s %s", got.Outcome, got.Errno, c.outcome, c.errno)
			}
		})
	}
	out, err := exec.Command(agent, "probe", "self").Output()
	if err != nil {
		t.Fatal(err)
	}
	var box struct {
		UID    int
		Caps   map[string]string
		Mounts []struct{ Target string }
	}
	if err := json.Unmarshal(out, &box); err != nil {
		t.Fatal(err)
	}
	if box.UID != os.Getuid() || box.Caps["CapEff"] == "" || len(box.Mounts) == 0 {
		t.Errorf("self: %s", out)
	}
}
