package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// server is the MCP server that helped.
type server struct {
	Name  string   `json:"name"`
	Tools []string `json:"tools"`
}

type session struct {
	*mcp.ClientSession
	ctx  context.Context
	info server
}

// connect opens a session with the first server, by name, of a file in the common
// mcpServers shape. No file, or an empty list, is no server: nil, nil.
func connect(ctx context.Context, file string) (*session, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		Servers map[string]struct {
			URL string `json:"url"`
		} `json:"mcpServers"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	name := ""
	for n := range list.Servers {
		if name == "" || n < name {
			name = n
		}
	}
	if name == "" {
		return nil, nil
	}

	client := mcp.NewClient(&mcp.Implementation{Name: "goagent", Version: "1"}, nil)
	s, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: list.Servers[name].URL, DisableStandaloneSSE: true}, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	tools, err := s.ListTools(ctx, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("list tools of %s: %w", name, err), s.Close())
	}
	info := server{Name: name}
	for _, t := range tools.Tools {
		info.Tools = append(info.Tools, t.Name)
	}
	slices.Sort(info.Tools)
	return &session{s, ctx, info}, nil
}

// count has the server's word_count tool count lines and words; the digest is ours.
func (s *session) count(t text) (document, error) {
	d, err := countHere(t)
	if err != nil {
		return d, err
	}
	result, err := s.CallTool(s.ctx, &mcp.CallToolParams{Name: "word_count", Arguments: map[string]any{"text": string(t.body)}})
	if err != nil {
		return d, err
	}
	raw, err := json.Marshal(result.StructuredContent)
	if err != nil {
		return d, err
	}
	var counted struct{ Lines, Words *int }
	if err := json.Unmarshal(raw, &counted); err != nil {
		return d, err
	}
	if result.IsError || counted.Lines == nil || counted.Words == nil {
		return d, fmt.Errorf("word_count answered %s", raw)
	}
	d.Lines, d.Words = *counted.Lines, *counted.Words
	return d, nil
}
