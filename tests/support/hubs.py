"""Serve model folders over local HTTP, as the Hugging Face hub does."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Hub that serves folders as models, records requests, and fails on demand.

    Files are named MODEL/FILE. An entry of `cut` or `broken` is removed once it has failed.
    """

    def __init__(self, models: dict[str, Path]) -> None:
        self.models = models
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and range of each request."""
        self.cut: set[str] = set()
        """Files whose next download is interrupted in the middle."""
        self.broken: set[str] = set()
        """Files whose next download fails with a server error."""
        self.gated: set[str] = set()
        """Models that this account has no access to."""
        hub = self

        class Handler(_Handler):
            def __init__(self, *args: Any) -> None:
                self.hub = hub
                super().__init__(*args)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self.close()

    def close(self) -> None:
        """Stop listening, so that the hub is unreachable."""
        self._server.server_close()

    def downloads(self) -> list[str]:
        """Return the downloaded files, in order."""
        gets = [
            path for method, path, _ in self.requests if method == "GET" and "/resolve/" in path
        ]
        return [re.sub(r"/resolve/[^/]+/", "/", path).lstrip("/") for path in gets]

    def ranges(self) -> list[str]:
        """Return the byte ranges of all requests that have one."""
        return [range_ for _, _, range_ in self.requests if range_]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        for name, folder in self.hub.models.items():
            if path.startswith(f"/api/models/{name}/tree/"):
                return self._send_json(_tree(folder))
            if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main") or (
                path == f"/api/models/{name}/revision/{COMMIT}"
            ):
                return self._send_json(_info(name, folder))
            for revision in ("main", COMMIT):
                prefix = f"/{name}/resolve/{revision}/"
                if path.startswith(prefix):
                    return self._send_file(name, folder, path.removeprefix(prefix))
        return self._refuse(404, "RepoNotFound")

    def _refuse(self, status: int, code: str) -> None:
        body = json.dumps({"error": code}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _send_json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send_file(self, name: str, folder: Path, file: str) -> None:
        path = folder / file
        if not path.is_file():
            return self._refuse(404, "EntryNotFound")
        if name in self.hub.gated:
            return self._refuse(403, "GatedRepo")
        if self.command == "GET" and self._fails_now(self.hub.broken, f"{name}/{file}"):
            return self._refuse(500, "ServerError")
        whole = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-").partition("=")[2].partition("-")[0])
        headers = {"ETag": f'"{_etag(whole)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        cut = self.command == "GET" and self._fails_now(self.hub.cut, f"{name}/{file}")
        return self._send(whole[start:], headers, partial=bool(start), cut=cut)

    def _fails_now(self, failures: set[str], file: str) -> bool:
        if file not in failures:
            return False
        failures.remove(file)
        return True

    def _send(
        self, body: bytes, headers: dict[str, str], *, partial: bool = False, cut: bool = False
    ) -> None:
        self.send_response(206 if partial else 200)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.close_connection = True


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _info(name: str, folder: Path) -> dict[str, Any]:
    siblings = [{"rfilename": path.relative_to(folder).as_posix()} for path in _files(folder)]
    return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []}


def _tree(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "oid": _etag(path.read_bytes()),
        }
        for path in _files(folder)
    ]


def _etag(whole: bytes) -> str:
    # The hub uses git blob ids.
    return hashlib.sha1(b"blob %d\0" % len(whole) + whole).hexdigest()
