// Notes is a small MCP server on the official SDK, for an image FROM scratch. It
// speaks MCP over stdio and offers three tools:
//
//	word_count {text}   lines and words of a text
//	lookup {term}       what its glossary says of a term
//	list_terms {}       the glossary's terms, sorted
//
// It reads no file and opens no socket. Word NAME as an argument is the server's
// name towards the client; "notes" without one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	name := "notes"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	if err := build(name).Run(context.Background(), &mcp.StdioTransport{}); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "notes:", err)
		os.Exit(1)
	}
}

type countIn struct {
	Text string `json:"text" jsonschema:"the text to count"`
}

type countOut struct {
	Lines int `json:"lines" jsonschema:"how many line ends the text has"`
	Words int `json:"words" jsonschema:"how many words it has, split at white space"`
}

type lookupIn struct {
	Term string `json:"term" jsonschema:"a term of the glossary"`
}

type lookupOut struct {
	Meaning string `json:"meaning"`
}

type listOut struct {
	Terms []string `json:"terms"`
}

func build(name string) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: name, Version: "1.0.0"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "word_count", Description: "Count the lines and words of a text"},
		func(_ context.Context, _ *mcp.CallToolRequest, in countIn) (*mcp.CallToolResult, countOut, error) {
			return nil, countOut{Lines: strings.Count(in.Text, "\n"), Words: len(strings.Fields(in.Text))}, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "lookup", Description: "Look a term up in the glossary"},
		func(_ context.Context, _ *mcp.CallToolRequest, in lookupIn) (*mcp.CallToolResult, lookupOut, error) {
			meaning, ok := glossary[strings.ToLower(in.Term)]
			if !ok {
				return nil, lookupOut{}, fmt.Errorf("no term %q", in.Term)
			}
			return nil, lookupOut{Meaning: meaning}, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "list_terms", Description: "List the glossary's terms"},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, listOut, error) {
			return nil, listOut{Terms: slices.Sorted(maps.Keys(glossary))}, nil
		})
	return s
}

var glossary = map[string]string{
	"attestation": "a signed statement about an artifact, named by digest",
	"digest":      "the hash that names exactly these bytes",
	"policy":      "what must be proved before anything runs",
	"provenance":  "who built it, from what, and how",
}
