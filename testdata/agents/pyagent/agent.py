#!/usr/bin/env python3
"""The Python agent: the same task as goagent, with the standard library alone.

It reads every .txt file in /work/in, has each counted by an MCP server if
/run/ztlaunch/mcp.json lists one (Streamable HTTP, JSON-RPC by hand), reads the
header of a model under /models if there is one, and writes /work/out/report.json.

    agent.py [--work DIR] [--models DIR] [--mcp FILE]
"""

import argparse
import hashlib
import json
import math
import pathlib
import struct
import sys
import urllib.request


class Server:
    """One session with an MCP server over Streamable HTTP."""

    def __init__(self, name, url):
        self.name, self.url, self.session, self.last = name, url, None, 0
        answer = self.call("initialize", {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "pyagent", "version": "1"},
        })
        self.version = answer["protocolVersion"]
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.tools = sorted(t["name"] for t in self.call("tools/list", {})["tools"])

    def post(self, message):
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if hasattr(self, "version"):
            headers["MCP-Protocol-Version"] = self.version
        request = urllib.request.Request(self.url, json.dumps(message).encode(), headers)
        # Whatever the environment says of proxies, the server is on loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            self.session = response.headers.get("Mcp-Session-Id", self.session)
            body = response.read().decode()
            if response.headers.get_content_type() == "text/event-stream":
                return [json.loads(line[5:]) for line in body.splitlines() if line.startswith("data:") and line[5:].strip()]
            return [json.loads(body)] if body.strip() else []

    def call(self, method, params):
        self.last += 1
        for message in self.post({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}):
            if message.get("id") != self.last:
                continue
            if "error" in message:
                raise RuntimeError(f"{method}: {message['error'].get('message')}")
            return message["result"]
        raise RuntimeError(f"{method}: no answer")

    def count(self, text):
        result = self.call("tools/call", {"name": "word_count", "arguments": {"text": text}})
        if result.get("isError"):
            raise RuntimeError(f"word_count: {result.get('content')}")
        counted = result["structuredContent"]
        return counted["lines"], counted["words"]


def connect(file):
    """The first server, by name, of a file in the common mcpServers shape."""
    try:
        servers = json.loads(file.read_text())["mcpServers"]
    except FileNotFoundError:
        return None
    for name in sorted(servers):
        return Server(name, servers[name]["url"])
    return None


def count_here(text):
    return text.count("\n"), len(text.split())


def read_model(models):
    """How many files the first model has, and what its safetensors headers list."""
    folders = sorted(models.iterdir()) if models.is_dir() else []
    if not folders:
        return None
    files = sorted(folders[0].iterdir())
    tensors = parameters = 0
    for file in files:
        if file.suffix != ".safetensors":
            continue
        with file.open("rb") as f:
            (size,) = struct.unpack("<Q", f.read(8))
            header = json.loads(f.read(size))
        header.pop("__metadata__", None)
        tensors += len(header)
        parameters += sum(math.prod(t["shape"]) for t in header.values())
    return {"name": folders[0].name, "files": len(files), "tensors": tensors, "parameters": parameters}


def main():
    parser = argparse.ArgumentParser(description="count the words of a folder")
    parser.add_argument("--work", type=pathlib.Path, default="/work")
    parser.add_argument("--models", type=pathlib.Path, default="/models")
    parser.add_argument("--mcp", type=pathlib.Path, default="/run/ztlaunch/mcp.json")
    args = parser.parse_args()

    texts = sorted((args.work / "in").glob("*.txt"))
    if not texts:
        raise RuntimeError(f"read {args.work / 'in'}: no .txt file")
    server = connect(args.mcp)
    documents = []
    for text in texts:
        body = text.read_bytes()
        lines, words = (server.count if server else count_here)(body.decode())
        documents.append({"name": text.name, "sha256": hashlib.sha256(body).hexdigest(), "lines": lines, "words": words})

    report = {
        "agent": "pyagent",
        "documents": documents,
        "words": sum(d["words"] for d in documents),
        "counted": server.name if server else "agent",
    }
    model = read_model(args.models)
    if model:
        report["model"] = model
    if server:
        report["server"] = {"name": server.name, "tools": server.tools}
    out = args.work / "out"
    out.mkdir(exist_ok=True)
    file = out / "report.json"
    file.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{file}: {len(documents)} documents, {report['words']} words, counted by {report['counted']}")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        print("pyagent:", error, file=sys.stderr)
        sys.exit(1)
