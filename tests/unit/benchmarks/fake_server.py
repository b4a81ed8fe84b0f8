"""A fake server: `python fake_server.py PORT`. It answers fast, and faster to a repeated prefix.

Tests of code that starts servers run it as a process.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST_SECONDS = 0.02  # to the first token of a new long prompt
seen: set[tuple[int, ...]] = set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        pages = {
            "/health/ready": b"{}",
            "/v1/models": b'{"data": [{"id": "fake"}]}',
            "/metrics": b"deepseek_server_seen_total %d\n" % len(seen),
        }
        content = pages.get(self.path, b"")
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = tuple(body["prompt"])
        if len(prompt) > 100 and prompt[:100] not in seen:
            time.sleep(FIRST_SECONDS)
        seen.add(prompt[:100])
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(body["max_tokens"]):
            self.event({"choices": [{"text": "x"}]})
        counts = {"prompt_tokens": len(prompt), "completion_tokens": body["max_tokens"]}
        self.event({"choices": [], "usage": counts})
        self.wfile.write(b"0\r\n\r\n")

    def event(self, value: object) -> None:
        data = b"data: %s\n\n" % json.dumps(value).encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


if __name__ == "__main__":
    print("serving", flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
