# SPDX-License-Identifier: Apache-2.0
"""The page itself: Rerun's viewer, kept from calling anybody but this machine.

In the browser the viewer asks its makers for news and tells them how it is used. A content
security policy forbids that; Rerun's server sends none, so its answers are passed on with one.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

# Names of this machine. Another one in the Host header is of a page from elsewhere whose name was
# made to lead here (DNS rebinding): the browser would let that page read the answers.
OURS = ("127.0.0.1", "localhost", "[::1]")
PASSED_ON = ("Content-Type", "Content-Encoding", "Cache-Control", "ETag")


@contextlib.contextmanager
def relaying(host: str, port: int, viewer_port: int, data_port: int) -> Iterator[str]:
    """Serve the viewer of ``viewer_port`` at ``port``, both of ``host``, while the block runs.

    Yields the address of the page, which opens the data of ``data_port``. Raises OSError when
    the port is taken.
    """
    data = f"rerun+http://{host}:{data_port}/proxy"

    class Handler(_Handler):
        viewer = (host, viewer_port)
        start = f"/?url={quote(data, safe='')}&hide_welcome_screen"
        policy = f"connect-src 'self' http://{host}:{data_port}; style-src 'self' 'unsafe-inline'"

    with ThreadingHTTPServer((host, port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="page", daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{port}/"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    viewer: tuple[str, int]
    start: str
    policy: str

    def do_GET(self) -> None:
        """Pass the viewer's answer on; the bare address leads to the data."""
        name = re.sub(r":\d*$", "", self.headers.get("Host", ""))
        if name.lower() not in OURS:
            self.send_error(403, "This page is for this machine: open it as 127.0.0.1")
            return
        if self.path == "/":
            self.send_response(302)
            self.send_header("Location", self.start)
            self.end_headers()
            return
        inner = http.client.HTTPConnection(*self.viewer, timeout=10.0)
        try:
            accepted = self.headers.get("Accept-Encoding", "identity")
            inner.request("GET", self.path, headers={"Accept-Encoding": accepted})
            answer = inner.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self.send_error(502, "The viewer's server does not answer")
            return
        finally:
            inner.close()
        self.send_response(answer.status)
        for name in PASSED_ON:
            if value := answer.getheader(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self.policy)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)

    def log_message(self, *args) -> None:
        """Say nothing of single requests."""
