"""A web server that counts its requests in /data, to be replaced by your app."""

import os
import signal
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

PORT = 8080
COUNTER = Path("/data/counter")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer("ok\n")
        count = int(COUNTER.read_text()) + 1 if COUNTER.exists() else 1
        COUNTER.write_text(str(count))
        self.answer(f"{os.environ.get('GREETING', 'hello')}, request {count}\n")

    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


def main():
    if "--check" in sys.argv:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2)
        return
    # Process 1 of a container receives only signals that it handles.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"listening on port {PORT}")
    HTTPServer(("", PORT), Handler).serve_forever()


main()
