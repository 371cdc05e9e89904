package mcp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	deep := func(n int) string {
		return `{"jsonrpc":"2.0","method":"m","params":` + strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n) + `}`
	}
	for _, tc := range []struct {
		raw  string
		want kind // 0: refused
		id   string
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"m"}`, request, "n1"},
		{"\t{ \"method\" : \"m\" ,\r\n\"params\":{ },\"id\": \"1\", \"jsonrpc\":\"2.0\" }\n", request, "s1"},
		{`{"jsonrpc":"2.0","id":"\u0031","method":"m"}`, request, "s1"},
		{`{"jsonrpc":"2.0","id":-5,"method":"m","params":[1]}`, request, "n-5"},
		{`{"jsonrpc":"2.0","method":"m","params":{"a":1.50e3,"b":"\u2028\ud83d\ude00"}}`, notification, ""},
		{`{"jsonrpc":"2.0","id":1,"result":null}`, response, "n1"},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":1}}`, response, "n1"},
		{`{"jsonrpc":"2.0","id":null,"error":{"code":1}}`, response, ""},
		{deep(126), notification, ""},

		{deep(127), notification, ""},
		{deep(128), 0, ""},
		{deep(10000), 0, ""},
		{`{"jsonrpc":"2.0","method":"m","params":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, 0, ""},
		{``, 0, ""},
		{`null`, 0, ""},
		{`"text"`, 0, ""},
		{`{}`, 0, ""},
		{`[{"jsonrpc":"2.0","id":1,"method":"m"}]`, 0, ""},
		{` [ ]`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m"}{}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m"`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":{"b":1,"b":1}}}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1,"\u0061":1}}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m","params":[{"a":1},{"a":1,"a":2}]}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"Method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m","extra":1}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"\u006dethod":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1.5,"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1e0,"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":-0,"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":-,"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1234567890123456,"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":true,"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":{},"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":null,"method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 300) + `","method":"m"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":""}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":1}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 300) + `"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m","params":"x"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"method":"m","result":1}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"result":1,"error":{}}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"error":"x"}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1,"result":1,"params":{}}`, 0, ""},
		{`{"jsonrpc":"2.0","result":1}`, 0, ""},
		{`{"jsonrpc":"2.0","id":null,"result":1}`, 0, ""},
		{`{"jsonrpc":"2.0","id":1}`, 0, ""},
		{`{"jsonrpc":"1.0","id":1,"method":"m"}`, 0, ""},
		{`{"id":1,"method":"m"}`, 0, ""},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", 0, ""},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}", 0, ""},
		{`{"jsonrpc":"2.0","id":01,"method":"m"}`, 0, ""},
	} {
		m, err := parse([]byte(tc.raw))
		if (err == nil) != (tc.want != 0) || err == nil && (m.kind != tc.want || m.id != tc.id) {
			t.Errorf("%.90s: %d %q, %v", tc.raw, m.kind, m.id, err)
		}
		if err == nil {
			var same bytes.Buffer
			if json.Compact(&same, []byte(tc.raw)) != nil || string(m.text()) != same.String()+"\n" {
				t.Errorf("%.90s became %.90s", tc.raw, m.text())
			}
		}
	}
}

func TestWith(t *testing.T) {
	m, err := parse([]byte(`{"id":7,"jsonrpc":"2.0","method":"m","params":{"id":7}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.with(`"id"`, []byte(`"x"`)).text()); got != `{"id":"x","jsonrpc":"2.0","method":"m","params":{"id":7}}`+"\n" {
		t.Error(got)
	}
	if got := string(m.text()); !strings.HasPrefix(got, `{"id":7`) {
		t.Error("the message itself has changed: ", got)
	}
}

func TestConfig(t *testing.T) {
	const want = `{"mcpServers":{"files":{"type":"http","url":"http://files.mcp/mcp"},"web":{"type":"http","url":"http://web.mcp/mcp"}}}` + "\n"
	if got := string(Config([]string{"web", "files"})); got != want {
		t.Errorf("%s", got)
	}
	if got := string(Config(nil)); got != `{"mcpServers":{}}`+"\n" {
		t.Errorf("%s", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":[1,{"b":"\"\\"}]}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"x","error":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(raw)
		if err != nil {
			return
		}
		line := m.text()
		if bytes.Count(line, []byte("\n")) != 1 || !json.Valid(line) {
			t.Fatalf("%q is not one line of JSON", line)
		}
		again, err := parse(line)
		if err != nil || again.kind != m.kind || again.id != m.id || again.method != m.method || !bytes.Equal(again.text(), line) {
			t.Fatalf("%q reads back as %+v, %v", line, again, err)
		}
		var a, b any
		if json.Unmarshal(raw, &a) != nil || json.Unmarshal(line, &b) != nil {
			t.Fatalf("%q", raw)
		}
		members(m.value(`"params"`))
	})
}

func BenchmarkParse(b *testing.B) {
	raw := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"` + strings.Repeat("some text ", 100) + `","list":[1,2,{"a":true}]}}}`)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}
