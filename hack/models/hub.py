"""A fake model hub, so that the real download code runs without the internet.

It serves directories as repositories over the few endpoints that `huggingface_hub` requests for a
snapshot: the commit of a revision, the tree of a commit, and each file (whole or a range). Unknown
repositories, revisions and files, and gated repositories without a token, are answered with the
hub's status codes and `X-Error-Code` headers. Holes of sparse files are not read, so a repository
of any size can be served.

From the command line: `python -m hack.models.hub --port N --repo OWNER/NAME=DIR`.
"""

import argparse
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hack.models.holes import CHUNK_BYTES, chunks

ZEROS = bytes(CHUNK_BYTES)


class HubError(Exception):
    """An error response: its status, the hub's error code and a message."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Repository:
    """A directory seen as a repository with one commit, reachable as `main`."""

    def __init__(self, directory: Path, *, token: str = "") -> None:
        if not directory.is_dir():
            raise FileNotFoundError(f"{directory} is not a directory")
        self.directory = directory
        self.token = token
        self.files = {
            file.relative_to(directory).as_posix(): file
            for file in sorted(directory.rglob("*"))
            if file.is_file()
        }
        self._digests: dict[str, str] = {}
        self.commit = hashlib.sha1(
            "".join(f"{name}:{self.digest(name)}" for name in self.files).encode(),
            usedforsecurity=False,
        ).hexdigest()

    def digest(self, name: str) -> str:
        """Return a cached sha256 of a file's bytes and of the lengths of its holes."""
        if name not in self._digests:
            digest = hashlib.sha256()
            for chunk in chunks(self.files[name]):
                digest.update(chunk if isinstance(chunk, bytes) else str(chunk).encode())
            self._digests[name] = digest.hexdigest()
        return self._digests[name]

    def check_revision(self, revision: str) -> None:
        """Raise HubError unless the revision is `main` or the commit."""
        if revision not in ("main", self.commit):
            raise HubError(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"no revision {revision}")


class Hub:
    """The repositories by id, and the answers of the API as JSON values."""

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        self.repositories = dict(repositories)

    def find(self, repo_id: str, authorization: str) -> Repository:
        """Return the repository if it exists and the caller may read it; else raise HubError."""
        repository = self.repositories.get(repo_id)
        if repository is None:
            raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
        if repository.token and authorization != f"Bearer {repository.token}":
            status = HTTPStatus.FORBIDDEN if authorization else HTTPStatus.UNAUTHORIZED
            raise HubError(status, "GatedRepo", f"Access to model {repo_id} is restricted")
        return repository

    def describe(self, repo_id: str, repository: Repository) -> object:
        """Return the response to `GET /api/models/{id}/revision/{revision}`."""
        return {
            "_id": repository.commit[:24],
            "id": repo_id,
            "modelId": repo_id,
            "sha": repository.commit,
            "private": False,
            "gated": "auto" if repository.token else False,
            "siblings": [
                {
                    "rfilename": name,
                    "size": file.stat().st_size,
                    "blobId": repository.digest(name)[:40],
                    "lfs": {
                        "sha256": repository.digest(name),
                        "size": file.stat().st_size,
                        "pointerSize": 135,
                    },
                }
                for name, file in repository.files.items()
            ],
        }

    def tree(self, repository: Repository) -> object:
        """Return the response to `GET /api/models/{id}/tree/{commit}`."""
        return [
            {
                "type": "file",
                "path": name,
                "size": file.stat().st_size,
                "oid": repository.digest(name)[:40],
            }
            for name, file in repository.files.items()
        ]


class Handler(BaseHTTPRequestHandler):
    """Handler of one request: routes it and writes the response."""

    protocol_version = "HTTP/1.1"
    server: "HubServer"

    def do_HEAD(self) -> None:
        """Send the headers of a file."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Send an API response or a file."""
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Print the request if the server is verbose."""
        if self.server.verbose:
            super().log_message(format, *args)

    def _answer(self, *, body: bool) -> None:
        try:
            self._route(body=body)
        except HubError as error:
            content = json.dumps({"error": error.message}).encode()
            self.send_response(error.status)
            self.send_header("X-Error-Code", error.code)
            self.send_header("X-Error-Message", error.message)
            self._finish(content, body=body)

    def _route(self, *, body: bool) -> None:
        authorization = self.headers.get("Authorization", "")
        match [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]:
            case ["api", "models", owner, name]:
                self._describe(f"{owner}/{name}", "main", authorization, body=body)
            case ["api", "models", owner, name, "revision", revision]:
                self._describe(f"{owner}/{name}", revision, authorization, body=body)
            case ["api", "models", owner, name, "tree", revision]:
                repository = self.server.hub.find(f"{owner}/{name}", authorization)
                repository.check_revision(revision)
                self._json(self.server.hub.tree(repository), body=body)
            case [owner, name, "resolve", revision, *path]:
                repository = self.server.hub.find(f"{owner}/{name}", authorization)
                repository.check_revision(revision)
                self._file(repository, "/".join(path), body=body)
            case _:
                raise HubError(HTTPStatus.NOT_FOUND, "EntryNotFound", f"no route {self.path}")

    def _describe(self, repo_id: str, revision: str, authorization: str, *, body: bool) -> None:
        # The hub describes a gated repository to every client; only its files need a token.
        repository = self.server.hub.repositories.get(repo_id)
        if repository is None:
            repository = self.server.hub.find(repo_id, authorization)
        repository.check_revision(revision)
        self._json(self.server.hub.describe(repo_id, repository), body=body)

    def _json(self, value: object, *, body: bool) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self._finish(json.dumps(value).encode(), body=body)

    def _finish(self, content: bytes, *, body: bool) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _file(self, repository: Repository, name: str, *, body: bool) -> None:
        file = repository.files.get(name)
        if file is None:
            raise HubError(HTTPStatus.NOT_FOUND, "EntryNotFound", f"no file {name}")
        size = file.stat().st_size
        first = _first_byte(self.headers.get("Range", ""))
        if first >= size > 0:
            raise HubError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "", f"{name}: {size} bytes")
        self.send_response(HTTPStatus.PARTIAL_CONTENT if first else HTTPStatus.OK)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.send_header("ETag", f'"{repository.digest(name)}"')
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(size - first))
        self.end_headers()
        if body:
            for chunk in chunks(file, first):
                self._write(chunk)

    def _write(self, chunk: bytes | int) -> None:
        """Send bytes, or the given number of zeros."""
        if isinstance(chunk, bytes):
            self.wfile.write(chunk)
            return
        for start in range(0, chunk, CHUNK_BYTES):
            self.wfile.write(ZEROS[: chunk - start])


def _first_byte(header: str) -> int:
    """Return the start of a `bytes=N-` range, the only kind that a resumed download sends."""
    start = header.removeprefix("bytes=").partition("-")[0]
    return int(start) if start.isdigit() else 0


class HubServer(ThreadingHTTPServer):
    """The HTTP server of a hub; clients use `endpoint`."""

    daemon_threads = True

    def __init__(self, hub: Hub, address: tuple[str, int], *, verbose: bool = False) -> None:
        super().__init__(address, Handler)
        self.hub, self.verbose = hub, verbose

    @property
    def endpoint(self) -> str:
        """The base URL on this machine."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"


@contextmanager
def serving(repositories: Mapping[str, Repository], host: str = "127.0.0.1") -> Iterator[HubServer]:
    """Run a hub on a free port of an address of this machine during the block."""
    with HubServer(Hub(repositories), (host, 0)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _repository_argument(text: str) -> tuple[str, Repository]:
    repo_id, separator, directory = text.partition("=")
    if not separator or repo_id.count("/") != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not OWNER/NAME=DIR")
    try:
        return repo_id, Repository(Path(directory))
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> None:
    """Serve the repositories of the command line until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m hack.models.hub", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument(
        "--repo",
        dest="repositories",
        type=_repository_argument,
        action="append",
        required=True,
        metavar="OWNER/NAME=DIR",
    )
    arguments = parser.parse_args()
    hub = Hub(dict(arguments.repositories))
    with HubServer(hub, (arguments.host, arguments.port), verbose=True) as server:
        ids = ", ".join(hub.repositories)
        print(f"serving {ids} on http://{arguments.host}:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
