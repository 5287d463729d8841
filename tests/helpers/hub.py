"""A Hugging Face Hub on the loopback interface, for tests of whatever pulls from one with the real client.

    with Hub() as hub:
        commit = hub.push("who/model", folder)
        hub.fault("GET", r"/resolve/.*unet", status=429, retry_after=1, times=2)
        subprocess.run([sys.executable, "-m", "mine"], env=hub.env(tmp_path), check=True)
        assert hub.sent("unet/diffusion_pytorch_model.safetensors") == 1

The client reads HF_ENDPOINT when it is imported: run what is tested in a process of its own, with `Hub.env`. What the
server speaks is the part of the protocol that listing and downloading need, for models and datasets.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 16 * 1024
LFS_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".parquet")


@dataclass(slots=True)
class Request:
    """One request and how it is answered. It is in the log before the first byte of its answer leaves, so what a client
    that has ended asked for is in there. sent: bytes of the body that were given to the connection so far."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int
    sent: int
    server: str

    @property
    def range(self) -> int:
        """First byte that was asked for."""
        return int(re.sub(r"\D.*", "", self.headers.get("range", "bytes=0-").removeprefix("bytes=")) or 0)


@dataclass(slots=True)
class Fault:
    """What goes wrong with requests whose "METHOD /path" the pattern is found in.

    status, code, retry_after: an error answer with X-Error-Code and Retry-After. delay: seconds before the answer. The
    others are of the content of a file or a listing. flip: position of a byte that is sent wrong. cut: bytes after
    which the connection is closed. pause: seconds between two pieces of `piece` bytes. endless: the body goes on with
    zeros until the client hangs up, without a Content-Length: "chunked", or "close", where the connection's end would
    be its end; of an error answer too. times: how often, -1 for always.
    """

    pattern: re.Pattern[str]
    status: int = 0
    code: str = ""
    retry_after: float | None = None
    flip: int | None = None
    cut: int | None = None
    delay: float = 0.0
    pause: float = 0.0
    piece: int = CHUNK
    endless: Literal["", "chunked", "close"] = ""
    times: int = -1


@dataclass(slots=True)
class Repository:
    """commits: files by commit. refs: branches and tags."""

    kind: str
    id: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)


class Hub:
    """A context manager. ranges: whether parts of files are served. cdn: serve LFS files from another port, to which
    the Hub redirects, as the real one does. lfs_bytes: size from which a file of any kind is an LFS file. etags: path →
    what the server calls the content of a small file, in place of its digest, as some mirrors do. All may be changed
    while it runs."""

    def __init__(self, *, ranges: bool = True, cdn: bool = False, lfs_bytes: int = 10_000_000) -> None:
        self.ranges, self.cdn, self.lfs_bytes = ranges, cdn, lfs_bytes
        self.etags: dict[str, str] = {}
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.renamed: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self._lock = Lock()
        self._blobs: dict[str, bytes] = {}
        self._servers: dict[str, ThreadingHTTPServer] = {}

    def __enter__(self) -> Hub:
        for name in ("hub", "cdn"):
            server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self, "name": name}))
            server.daemon_threads = True
            self._servers[name] = server
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        return self._address("hub")

    def push(
        self, model: str, source: Path | Mapping[str, bytes], *, kind: str = "models", branch: str = "main"
    ) -> str:
        """Make a commit of a folder's files, or of given ones, move the branch there, and return its 40 digits."""
        if isinstance(source, Path):
            found = sorted(path for path in source.rglob("*") if path.is_file())
            files = {path.relative_to(source).as_posix(): path.read_bytes() for path in found}
        else:
            files = dict(source)
        digests = [f"{name}\0{hashlib.sha256(data).hexdigest()}" for name, data in sorted(files.items())]
        commit = hashlib.sha1("\n".join([model, *digests]).encode()).hexdigest()
        repository = self.repositories.setdefault((kind, model), Repository(kind, model))
        repository.commits[commit] = files
        repository.refs[branch] = commit
        self._blobs |= {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        return commit

    def rename(self, old: str, new: str) -> None:
        """What was `old` is called `new`: requests for the old name are redirected."""
        for kind, name in list(self.repositories):
            if name == old:
                repository = self.repositories.pop((kind, old))
                repository.id = new
                self.repositories[kind, new] = repository
        self.renamed[old] = new

    def protect(self, model: str, token: str) -> None:
        """Files of the model need this token: without one it is gated, with another the answer is a bare 401."""
        self.tokens[model] = token

    def fault(self, method: str, path: str, **what: Any) -> Fault:
        """See `Fault`. method: "" for any. path: a regular expression, searched in the path without its query."""
        made = Fault(re.compile(rf"^{method or '[A-Z]+'} .*?(?:{path})"), **what)
        self.faults.insert(0, made)
        return made

    def sent(self, path: str) -> int:
        """How many times (a part of) the file was downloaded."""
        return len(self.downloads(path))

    def downloads(self, path: str = "") -> list[Request]:
        """Answers that brought (a part of) a file whose path ends so; by way of the other port they count once."""
        return [
            one
            for one in self.log
            if one.method == "GET" and one.status in (200, 206) and "/api/" not in one.path and one.path.endswith(path)
        ]

    def env(self, home: Path, **more: str) -> dict[str, str]:
        """Environment for a process whose client talks to this server and keeps its cache below `home`, without a
        token and without Xet, which this server does not speak."""
        left = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS_", "XDG_CACHE"))
        }
        return {
            **left,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **more,
        }

    def _address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._servers[name].server_port}"

    def _is_lfs(self, path: str, data: bytes) -> bool:
        return path.endswith(LFS_SUFFIXES) or len(data) >= self.lfs_bytes

    def _entries(self, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
        """What both listings of the API are made of."""
        listed = []
        for path, data in sorted(files.items()):
            entry = {"path": path, "size": len(data), "oid": git_blob(data)}
            if self._is_lfs(path, data):
                digest = hashlib.sha256(data).hexdigest()  # under the names that each listing has for it
                entry["lfs"] = {"sha256": digest, "oid": digest, "size": len(data), "pointerSize": 130}
            listed.append(entry)
        return listed

    def _take_fault(self, line: str, body: bool) -> Fault:
        """body: whether a file's content is about to be sent, which is when some faults happen."""
        with self._lock:
            for one in self.faults:
                of_body = not one.status and bool(
                    one.cut is not None or one.flip is not None or one.pause > 0 or one.endless
                )
                if one.times and of_body == body and one.pattern.search(line):
                    one.times -= 1
                    return one
        return Fault(re.compile(""))


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    name: str
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        self.where, self.query = unquote(split.path), parse_qs(split.query)
        self.fault = self.hub._take_fault(f"{self.command} {self.where}", body=False)
        time.sleep(self.fault.delay)
        if self.fault.status:
            headers = {} if self.fault.retry_after is None else {"Retry-After": f"{self.fault.retry_after:g}"}
            self._refuse(self.fault.status, self.fault.code, headers)
        elif self.name == "cdn":
            self._file(self.hub._blobs[self.where.split("/")[1]], {})
        else:
            self._route()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _route(self) -> None:
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(/.*)?)?", self.where)
        raw = urlsplit(self.path).path  # a branch may have a slash, which comes quoted
        quoted = re.search(r"/(?:revision|tree|resolve)/([^/?]+)", raw)
        revision = unquote(quoted[1]) if quoted is not None else "main"
        resolve = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/(.+)", self.where)
        if api is not None:
            kind, name = api[1], api[2]
        elif resolve is not None:
            kind, name = "datasets" if resolve[1] else "models", resolve[2]
        else:
            self._refuse(404, "")
            return
        if name in self.hub.renamed:
            new = self.path.replace(name, self.hub.renamed[name], 1)
            self._answer(307, b"", {"Location": new})
            return
        repository = self.hub.repositories.get((kind, name))
        if repository is None:
            self._refuse(404, "RepoNotFound")
            return
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            self._refuse(404, "RevisionNotFound")
        elif api is not None:
            self._listing(repository, commit, api[3] == "tree")
        elif resolve is not None and self._allowed(name):
            self._resolve(commit, repository.commits[commit], resolve[3].removeprefix(revision).lstrip("/"))

    def _allowed(self, name: str) -> bool:
        wanted, given = self.hub.tokens.get(name), self.headers.get("Authorization")
        if wanted is None or given == f"Bearer {wanted}":
            return True
        self._refuse(*((401, "GatedRepo") if given is None else (401, "")))
        return False

    def _listing(self, repository: Repository, commit: str, tree: bool) -> None:
        entries = self.hub._entries(repository.commits[commit])
        if tree:
            body: Any = [{**entry, "type": "file"} for entry in entries]
        else:
            siblings = [
                {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
                | ({"lfs": entry["lfs"]} if "lfs" in entry else {})
                for entry in entries
            ]
            if "blobs" not in self.query:
                siblings = [{"rfilename": one["rfilename"]} for one in siblings]
            body = {"id": repository.id, "sha": commit, "siblings": siblings}
        self.fault = self.hub._take_fault(f"{self.command} {self.where}", body=True)
        self._answer(200, self._flipped(json.dumps(body).encode()), {"Content-Type": "application/json"})

    def _resolve(self, commit: str, files: Mapping[str, bytes], path: str) -> None:
        headers = {"X-Repo-Commit": commit}
        if path not in files:
            self._refuse(404, "EntryNotFound", headers)
            return
        data = files[path]
        if not self.hub._is_lfs(path, data):
            self._file(data, {**headers, "ETag": f'"{self.hub.etags.get(path) or git_blob(data)}"'})
            return
        digest = hashlib.sha256(data).hexdigest()
        if self.hub.cdn:
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
            self._answer(302, b"", {**headers, "Location": f"{self.hub._address('cdn')}/{digest}/{path}"})
        else:
            self._file(data, {**headers, "ETag": f'"{digest}"'})

    def _file(self, data: bytes, headers: Mapping[str, str]) -> None:
        self.fault = self.hub._take_fault(f"{self.command} {self.where}", body=True)
        first = self.headers.get("Range", "")
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", first) if self.hub.ranges else None
        data = self._flipped(data)
        if match is None:
            self._answer(200, data, headers)
            return
        start, end = int(match[1]), min(int(match[2] or len(data)) + 1, len(data))
        if start >= len(data):
            self._answer(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
            return
        self._answer(206, data[start:end], {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})

    def _flipped(self, data: bytes) -> bytes:
        at = self.fault.flip
        return data if at is None else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._answer(status, b"", {**({"X-Error-Code": code} if code else {}), **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        given = {key.lower(): value for key, value in self.headers.items()}
        request = Request(self.command, self.where, given, status, 0, self.name)
        self.hub.log.append(request)
        try:
            self.send_response(status)
            endless = self.fault.endless if self.command == "GET" and status != 302 else ""
            length = {
                "": {"Content-Length": str(len(body))},
                "chunked": {"Transfer-Encoding": "chunked"},
                "close": {"Connection": "close"},
            }[endless]
            for key, value in {**headers, **length}.items():
                self.send_header(key, value)
            self.end_headers()
            while endless:
                piece, body = body[:CHUNK] or bytes(CHUNK), body[CHUNK:]
                request.sent += len(piece)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if endless == "chunked" else piece)
            if self.command == "GET":
                whole = body if self.fault.cut is None else body[: self.fault.cut]
                for start in range(0, len(whole), self.fault.piece):
                    piece = whole[start : start + self.fault.piece]
                    request.sent += len(piece)
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(self.fault.pause)
                self.close_connection = self.close_connection or len(whole) < len(body)
        except OSError:  # the client is gone
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


def git_blob(data: bytes) -> str:
    """What git calls a file of this content: sha1 over a header and it."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
