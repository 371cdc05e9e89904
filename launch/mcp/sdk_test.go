package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// pipes are the two ends of a server's standard input and output.
type pipes struct {
	io.Reader
	io.Writer
	close func() error
}

func (p pipes) Close() error { return p.close() }

// joined returns our end and the server's.
func joined() (ours pipes, serverIn *io.PipeReader, serverOut *io.PipeWriter) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	return pipes{outR, inW, func() error { return errors.Join(inW.Close(), outR.Close()) }}, inR, outW
}

// serve puts a bridge on a loopback port and returns a client that finds it as
// files.mcp, as the agent's /etc/hosts does.
func serve(t *testing.T, open Open) (*Bridge, *http.Client, string) {
	t.Helper()
	b := New(Host("files"), open)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- b.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		},
		MaxIdleConnsPerHost: 4,
	}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error("serve: ", err)
		}
	})
	return b, client, addr
}

type echoIn struct {
	Text string `json:"text"`
}

// sdkServer is a server on the official SDK with tools that answer, that ask back,
// that report progress, that wait to be called off, and that change the list.
// Each Open makes a new one.
func sdkServer(t *testing.T) (Open, chan string) {
	seen := make(chan string, 100)
	var all sync.WaitGroup
	t.Cleanup(all.Wait) // every server ends with its bridge
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		ours, in, out := joined()
		all.Go(func() {
			sdkTools(seen).Run(ctx, &sdk.IOTransport{Reader: in, Writer: out}) // ends with an error when the pipes close
			out.Close()
			in.Close()
		})
		return ours, nil
	}, seen
}

func sdkTools(seen chan string) *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "files", Version: "1"}, nil)
	sdk.AddTool(s, &sdk.Tool{Name: "echo"}, func(_ context.Context, _ *sdk.CallToolRequest, in echoIn) (*sdk.CallToolResult, any, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: in.Text}}}, nil, nil
	})
	sdk.AddTool(s, &sdk.Tool{Name: "ask"}, func(ctx context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		got, err := r.Session.Elicit(ctx, &sdk.ElicitParams{Message: "sure?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"ok": map[string]any{"type": "boolean"}}}})
		if err != nil {
			return nil, nil, err
		}
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: fmt.Sprint(got.Action, got.Content["ok"])}}}, nil, nil
	})
	sdk.AddTool(s, &sdk.Tool{Name: "progress"}, func(ctx context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		for i := range 5 {
			if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i)}); err != nil {
				return nil, nil, err
			}
		}
		return &sdk.CallToolResult{}, nil, nil
	})
	sdk.AddTool(s, &sdk.Tool{Name: "wait"}, func(ctx context.Context, _ *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		seen <- "waiting"
		<-ctx.Done()
		seen <- "called off"
		return nil, nil, ctx.Err()
	})
	sdk.AddTool(s, &sdk.Tool{Name: "grow"}, func(_ context.Context, _ *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		sdk.AddTool(s, &sdk.Tool{Name: "late"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
			return &sdk.CallToolResult{}, nil, nil
		})
		return &sdk.CallToolResult{}, nil, nil
	})
	return s
}

func text(t *testing.T, r *sdk.CallToolResult, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Content) != 1 {
		t.Fatalf("content %+v", r.Content)
	}
	return r.Content[0].(*sdk.TextContent).Text
}

// TestSDKClient drives the official client through the bridge, in its newest
// protocol and in the one with sessions, one client after the other.
func TestSDKClient(t *testing.T) {
	server, seen := sdkServer(t)
	b, hc, _ := serve(t, server)
	for _, version := range []string{"", "2025-11-25", "2025-06-18", "", "2025-11-25"} {
		t.Run("version="+version, func(t *testing.T) {
			changed, progress := make(chan bool, 10), make(chan float64, 10)
			c := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, &sdk.ClientOptions{
				ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
					return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"ok": true}}, nil
				},
				ToolListChangedHandler:      func(context.Context, *sdk.ToolListChangedRequest) { changed <- true },
				ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { progress <- r.Params.Progress },
			})
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			cs, err := c.Connect(ctx, &sdk.StreamableClientTransport{Endpoint: "http://files.mcp/mcp", HTTPClient: hc, MaxRetries: -1},
				&sdk.ClientSessionOptions{ProtocolVersion: version})
			if err != nil {
				t.Fatal(err)
			}
			if version != "" && cs.InitializeResult().ProtocolVersion != version {
				t.Errorf("speaks %s", cs.InitializeResult().ProtocolVersion)
			}
			if (cs.ID() != "") != (version != "") {
				t.Errorf("session %q", cs.ID())
			}
			tools, err := cs.ListTools(ctx, nil)
			if err != nil || len(tools.Tools) < 5 {
				t.Fatal(tools, err)
			}
			var wg sync.WaitGroup
			for i := range 30 {
				wg.Go(func() {
					want := strings.Repeat(fmt.Sprintf("%d <&> \u2028 ", i), 1+i*10)
					r, err := cs.CallTool(ctx, &sdk.CallToolParams{Name: "echo", Arguments: echoIn{want}})
					if err != nil || r.Content[0].(*sdk.TextContent).Text != want {
						t.Errorf("echo %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			if version != "" {
				r, err := cs.CallTool(ctx, &sdk.CallToolParams{Name: "ask"})
				if got := text(t, r, err); got != "accepttrue" {
					t.Errorf("asked back: %q", got)
				}
			}
			p := &sdk.CallToolParams{Name: "progress"}
			p.SetProgressToken("tok")
			if _, err := cs.CallTool(ctx, p); err != nil {
				t.Fatal(err)
			}
			got := map[float64]bool{}
			for range 5 {
				select {
				case p := <-progress:
					got[p] = true
				case <-ctx.Done():
					t.Fatalf("progress %v", got)
				}
			}
			waiting, off := context.WithCancel(ctx)
			go func() { <-seen; off() }()
			if _, err := cs.CallTool(waiting, &sdk.CallToolParams{Name: "wait"}); !errors.Is(err, context.Canceled) {
				t.Errorf("called off: %v", err)
			}
			select {
			case s := <-seen:
				if s != "called off" {
					t.Error(s)
				}
			case <-ctx.Done():
				t.Fatal("the server does not hear that a call is off")
			}
			if _, err := cs.CallTool(ctx, &sdk.CallToolParams{Name: "grow"}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Error("list_changed does not arrive")
			}
			var wire *jsonrpc.Error
			if _, err := cs.CallTool(ctx, &sdk.CallToolParams{Name: "none"}); !errors.As(err, &wire) {
				t.Errorf("an unknown tool: %v", err)
			}
			if err := cs.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	select {
	case err := <-b.Failed():
		t.Error(err)
	default:
	}
}

// python is a client of nothing but Python's standard library. It prints what
// it got, one line per step.
const python = `
import json, sys, urllib.request, urllib.error
url, accept = sys.argv[1], sys.argv[2]
session = None
def post(body, **more):
    global session
    headers = {"Content-Type": "application/json", "Host": "files.mcp"}
    if accept: headers["Accept"] = accept
    if session: headers["Mcp-Session-Id"] = session
    headers.update(more)
    r = urllib.request.Request(url, json.dumps(body, indent=1).encode(), headers)
    with urllib.request.urlopen(r, timeout=30) as f:
        session = session or f.headers.get("Mcp-Session-Id")
        data = f.read().decode()
        if f.headers.get("Content-Type") == "text/event-stream":
            data = [l[6:] for l in data.splitlines() if l.startswith("data: ")][-1]
        return f.status, json.loads(data) if data else None
print(post({"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": {"protocolVersion": "2025-06-18",
    "capabilities": {}, "clientInfo": {"name": "plain", "version": "1"}}})[1]["result"]["serverInfo"]["name"])
print(post({"jsonrpc": "2.0", "method": "notifications/initialized"}))
print(sorted(t["name"] for t in post({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})[1]["result"]["tools"])[:2])
for i in range(3):
    r = post({"jsonrpc": "2.0", "id": i, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "zażółć %d" % i}}})[1]
    print(r["id"], r["result"]["content"][0]["text"])
big = "x" * 300000
r = post({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": big}}})[1]
print(r["result"]["content"][0]["text"] == big)
r = urllib.request.Request(url, method="DELETE", headers={"Mcp-Session-Id": session, "Host": "files.mcp"})
print(urllib.request.urlopen(r, timeout=30).status)
try:
    post({"jsonrpc": "2.0", "id": 10, "method": "tools/list"})
except urllib.error.HTTPError as e:
    print(e.code, json.loads(e.read())["error"]["message"])
`

func TestPythonClient(t *testing.T) {
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("ZTLAUNCH_E2E: no python3")
	}
	server, _ := sdkServer(t)
	_, _, addr := serve(t, server)
	for _, accept := range []string{"", "application/json", "*/*", "application/json, text/event-stream"} {
		c := exec.Command(interpreter, "-c", python, "http://"+addr+"/mcp", accept)
		c.Env = append(os.Environ(), "no_proxy=*")
		c.Stderr = os.Stderr
		out, err := c.Output()
		const want = "files\n(202, None)\n['ask', 'echo']\n0 zażółć 0\n1 zażółć 1\n2 zażółć 2\nTrue\n204\n404 no such session\n"
		if err != nil || string(out) != want {
			t.Errorf("Accept %q: %v\n%s", accept, err, out)
		}
	}
}
