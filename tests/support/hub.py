"""A hub on the loopback: the few calls of the Hugging Face hub's HTTP API that our commands make.

These are the upload of a model, and the download of a data set, which can break off and be resumed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

MAX_BODY = 64 << 20
TOKEN = "hf_of_the_test"
COMMIT = "0" * 39 + "1"


@dataclass(frozen=True)
class Transfer:
    """A file that was asked for: its path, the first byte that was wanted, and how many were sent."""

    path: str
    first: int
    sent: int


class SmallHub(ThreadingHTTPServer):
    """Keeps what is uploaded in memory, and serves data sets.

    Attributes:
        files: content by repository and path, such as `("me/spotter", "README.md")`.
        data_sets: content by repository, revision and path, such as
            `{"s3prl/superb": {"refs/convert/parquet": {"ks/test/0000.parquet": b"..."}}}`.
        cut_after: transfers of more bytes than this break off, once for each; None: none does.
        transfers: what was downloaded of the data sets, in order.
        unknown: the calls that it has no answer to.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[tuple[str, str], bytes] = {}
        self.stored: dict[str, bytes] = {}
        self.data_sets: dict[str, dict[str, dict[str, bytes]]] = {}
        self.cut_after: int | None = None
        self.transfers: list[Transfer] = []
        self.unknown: list[str] = []

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def small_hub() -> Iterator[SmallHub]:
    """Run a hub until the block ends."""
    with SmallHub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: SmallHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._route()

    def do_HEAD(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_PUT(self) -> None:
        self._route()

    def _route(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > MAX_BODY:
            self._answer(413, {"error": "too large"})
            return
        body = self.rfile.read(length)
        path = self.path.partition("?")[0]
        public = self.command == "PUT" or "/datasets/" in path
        if not public and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "unauthorized"})
            return
        for pattern, method in _ROUTES.items():
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                named = {name: unquote(text or "") for name, text in found.groupdict().items()}
                method(self, body, **named)
                return
        self.server.unknown.append(f"{self.command} {self.path}")
        self._answer(404, {"error": "not found"})

    def _answer(self, status: int, value: Any, error: str = "") -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        self._answer(200, {"url": f"{self.server.url}/{repo}", "id": repo})

    def validate(self, body: bytes) -> None:
        readable = json.loads(body)["content"].startswith("---\n")
        self._answer(200, {"errors": [] if readable else [{"message": "no metadata"}], "warnings": []})

    def preupload(self, body: bytes, repo: str) -> None:
        """Let weights go by LFS and the rest with the commit, as the hub does."""
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._answer(200, {"files": modes})

    def batch(self, body: bytes, repo: str) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def store(self, body: bytes, oid: str) -> None:
        right = hashlib.sha256(body).hexdigest() == oid
        if right:
            self.server.stored[oid] = body
        self._answer(200 if right else 400, {})

    def commit(self, body: bytes, repo: str) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.server.files[repo, value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.files[repo, value["path"]] = self.server.stored[value["oid"]]
        url = f"{self.server.url}/{repo}/commit/{COMMIT}"
        self._answer(200, {"success": True, "commitOid": COMMIT, "commitUrl": url})

    def _files_of(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """Return a data set's files by path; None, and an answer, if there is no such set or revision."""
        revisions = self.server.data_sets.get(repo)
        if revisions is None:
            self._answer(404, {"error": "Repository not found"}, "RepoNotFound")
            return None
        for name, files in revisions.items():
            if revision in (name, commit_of(repo, name)):
                return files
        self._answer(404, {"error": f"Invalid rev id: {revision}"}, "RevisionNotFound")
        return None

    def data_set(self, body: bytes, repo: str, revision: str = "main") -> None:
        files = self._files_of(repo, revision)
        if files is not None:
            self._answer(200, {"id": repo, "sha": commit_of(repo, revision)})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        files = self._files_of(repo, revision)
        if files is not None:
            entries = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
            self._answer(200, entries)

    def resolve(self, body: bytes, repo: str, revision: str, path: str) -> None:
        """Send a file from the byte that is wanted, or up to where the transfer is to break off."""
        files = self._files_of(repo, revision)
        if files is None:
            return
        if path not in files:
            self._answer(404, {"error": "Entry not found"}, "EntryNotFound")
            return
        content = files[path]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - first))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit_of(repo, revision))
        self.end_headers()
        if self.command == "HEAD":
            return
        limit, asked = self.server.cut_after, {each.path for each in self.server.transfers}
        cut = limit is not None and path not in asked and len(content) > limit
        sent = content[first:limit] if cut else content[first:]
        self.server.transfers.append(Transfer(path, first, len(sent)))
        self.wfile.write(sent)
        self.close_connection = cut


def commit_of(repo: str, revision: str) -> str:
    """Return the commit that a branch of a data set points to; a commit is returned as it is."""
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    return hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_DATA_SET = r"(?P<repo>[\w.-]+(/[\w.-]+)?)"
_ROUTES = {
    r"POST /api/repos/create": _Handler.create,
    r"POST /api/validate-yaml": _Handler.validate,
    rf"POST /api/models/{_REPO}/preupload/main": _Handler.preupload,
    rf"POST /{_REPO}\.git/info/lfs/objects/batch": _Handler.batch,
    r"PUT /lfs/(?P<oid>[0-9a-f]{64})": _Handler.store,
    rf"POST /api/models/{_REPO}/commit/main": _Handler.commit,
    rf"GET /api/datasets/{_DATA_SET}/revision/(?P<revision>[^/]+)": _Handler.data_set,
    rf"GET /api/datasets/{_DATA_SET}/tree/(?P<revision>[^/]+)": _Handler.tree,
    rf"GET /api/datasets/{_DATA_SET}": _Handler.data_set,
    rf"(GET|HEAD) /datasets/{_DATA_SET}/resolve/(?P<revision>[^/]+)/(?P<path>.+)": _Handler.resolve,
}
