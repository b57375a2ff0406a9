"""A stand-in of the Hugging Face Hub on this machine: the calls that a download makes, over folders."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0" * 20
API = re.compile(r"/api/(?:datasets|models)/(?P<repo>[^/]+/[^/]+)/(?P<call>revision|tree)/(?P<revision>[^/?]+)")
FILE = re.compile(r"/(?:datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?]+)")


class HubStandIn(BaseHTTPRequestHandler):
    """Serves `repos`: the folder of each repository by its name, all at one commit, of which `main` is the branch."""

    repos: dict[str, Path]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if call := API.match(self.path):
            self._answer_about(call)
        elif asked := FILE.match(self.path):
            self._send_file(asked)
        else:
            self.send_error(404)

    def _folder(self, found: re.Match[str]) -> Path | None:
        folder = self.repos.get(found["repo"])
        if folder is None or found["revision"] not in ("main", COMMIT):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound" if folder is None else "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        return folder

    def _answer_about(self, call: re.Match[str]) -> None:
        if (folder := self._folder(call)) is None:
            return
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        names = [file.relative_to(folder).as_posix() for file in files]
        tree = [
            {"type": "file", "path": name, "size": file.stat().st_size, "oid": _hash(file)}
            for name, file in zip(names, files, strict=True)
        ]
        about = {"id": call["repo"], "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        self._send(json.dumps(tree if call["call"] == "tree" else about).encode(), "application/json")

    def _send_file(self, asked: re.Match[str]) -> None:
        if (folder := self._folder(asked)) is not None:
            file = folder / asked["file"]
            self._send(file.read_bytes(), "application/octet-stream", ETag=f'"{_hash(file)}"')

    def _send(self, content: bytes, kind: str, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _hash(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@contextmanager
def hub_stand_in(repos: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Serve the repositories; gives the environment in which the Hub's clients ask the stand-in."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (HubStandIn,), {"repos": repos}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}"}
    finally:
        server.shutdown()
        server.server_close()
