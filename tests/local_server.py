"""A local HTTP server that breaks off, lies and refuses, and archives to fetch from it."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from lib.datasets import fetch as fetching
from lib.datasets.fetch import Archive


def tar(members: dict, mode="w:gz") -> bytes:
    """name -> bytes, or a tarfile.TarInfo for something that is no file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            file.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def zipped(members: dict) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


NOISE = np.random.default_rng(0).bytes(300_000)
PED2 = {
    f"UCSD_Anomaly_Dataset.v1p2/UCSDped2/{name}": content
    for name, content in {
        "Train/Train001/001.tif": NOISE,
        "Test/Test001/001.tif": b"frame",
        "Test/._UCSDped2.m": b"junk",
        ".DS_Store": b"junk",
    }.items()
}


class Server(ThreadingHTTPServer):
    """Serves `content` and keeps the headers of each request. `break_after`: bytes after which the next ones
    stop."""

    daemon_threads = True

    def __init__(self):
        self.content, self.tag, self.status, self.ranges = tar(PED2), '"one"', 200, True
        self.break_after: list[int] = []
        self.requests: list[dict] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server: Server = self.server
        server.requests.append(dict(self.headers))
        if server.status != 200:
            return self.send_error(server.status)
        start, asked = 0, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(asked[1])
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        self.send_header("Content-Length", str(len(server.content) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        rest = server.content[start:]
        self.wfile.write(rest[: server.break_after.pop(0)] if server.break_after else rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    archive = Archive(
        url=f"http://127.0.0.1:{server.server_port}/UCSD_Anomaly_Dataset.tar.gz",
        sha256=hashlib.sha256(server.content).hexdigest(),
        folder="UCSD_Anomaly_Dataset.v1p2",
    )
    monkeypatch.setattr(fetching, "ARCHIVES", {"ped2": (archive,)})
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    monkeypatch.setattr(fetching, "BLOCK", 1 << 14)
    yield server
    server.shutdown()
    server.server_close()
