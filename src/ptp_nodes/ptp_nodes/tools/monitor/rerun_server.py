# SPDX-License-Identifier: Apache-2.0
"""Process that serves Rerun's viewer on this machine's loopback."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import quote

from ptp_core.errors import InputError
from ptp_core.processes import die_with_parent
from ptp_nodes.tools.tcp_port import require_free

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


HOST = "127.0.0.1"
PATIENCE = 20.0  # s until the server must answer
CURE = (
    "Rerun is not installed, and ptp monitor needs it (0.7 GB): run `make monitor`, or, without a "
    "checkout, `pip install rerun-sdk==0.41.0`"
)


def require_rerun() -> Path:
    """Path of Rerun's command. Raises InputError that says how to get it."""
    found = importlib.util.find_spec("rerun_cli")
    if found is None or found.origin is None or importlib.util.find_spec("rerun") is None:
        raise InputError(CURE)
    return Path(found.origin).with_name("rerun")


@dataclass(frozen=True)
class Served:
    """A running server: where to log to, and where the page is."""

    data: str
    page: str
    process: subprocess.Popen

    def wait(self) -> None:
        """Wait until the server ends. Raises InputError: it should not."""
        status = self.process.wait()
        raise InputError(f"Rerun's server ended by itself (exit code {status}): start it again")


@contextlib.contextmanager
def serving(web_port: int, data_port: int, memory: str) -> Iterator[Served]:
    """Serve while the block runs.

    ``memory`` bounds what is kept for pages that open late, as "500MB". Raises InputError when a
    port is taken or the server does not start.
    """
    for port in (web_port, data_port):
        require_free(HOST, port, "others with --port and --data-port")
    viewer_port = _free_port()
    command = [
        *(str(require_rerun()), "--serve-web", "--bind", HOST, "--newest-first"),
        *("--port", str(data_port), "--web-viewer-port", str(viewer_port)),
        *("--server-memory-limit", memory),
    ]
    # Rerun reports usage to its makers, except from machines that build and test.
    env = {**os.environ, "CI": "1"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends this program first
            preexec_fn=die_with_parent,
        )
        try:
            _wait(process, (viewer_port, data_port), output)
            with relaying(HOST, web_port, viewer_port, data_port) as page:
                yield Served(f"rerun+http://{HOST}:{data_port}/proxy", page, process)
        finally:
            process.terminate()
            try:
                process.wait(3.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _wait(process: subprocess.Popen, ports: tuple[int, ...], output: IO[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    for port in ports:
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 0.2):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                output.seek(0)
                lines = output.read().decode(errors="replace").strip().splitlines()
                raise InputError(
                    f"Rerun's server did not start: {lines[-1] if lines else 'no reason given'}"
                )
            time.sleep(0.05)
