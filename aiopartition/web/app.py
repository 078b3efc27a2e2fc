"""The ASGI application: finds the answer to each path."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from aiopartition.coordinator import PartitionCoordinator
from aiopartition.errors import NotStartedError
from aiopartition.web.facts import Facts

__all__ = ["StatusApp", "status_app"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_FILES: Final = {
    "/": ("status.html", "text/html; charset=utf-8"),
    "/status.js": ("status.js", "text/javascript; charset=utf-8"),
    "/status.css": ("status.css", "text/css; charset=utf-8"),
}

_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def status_app(coordinator: PartitionCoordinator, groups: Collection[str] | None = None) -> StatusApp:
    """Return an ASGI application that shows a coordinator. Mount it anywhere: ``app.mount("/status", status_app(c))``.

    ``/`` is a page for people, and ``/status.json`` has the same as data. ``/live`` answers 200 while the coordinator's
    tasks run, connected or not, and 503 after that: restart the process. ``/ready`` answers 200 while it is known what
    this member owns in each of the groups, and otherwise 503. Mount the application where only operators can reach it,
    because it shows the ids, hosts and metadata of all members.

    It only reads the coordinator, and neither starts nor stops it. It has to run in the coordinator's event loop.

    :param groups: the ids of the groups to show; ``None`` for all that the coordinator has joined or observes.
    :raises TypeError: if ``groups`` is a single string.
    """
    if isinstance(groups, str):
        raise TypeError("groups: expected a collection of group ids, not a single string")
    return StatusApp(Facts(coordinator, groups))


class StatusApp:
    """An ASGI application. Make it with :func:`status_app`."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        folder = files(__package__ or "aiopartition.web")
        self._files = {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await _lifespan(receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif kind == "http":
            await self._answer(scope, send)
        else:
            raise ValueError(f"ASGI: no answer to a scope of type {kind!r}")

    async def _answer(self, scope: Message, send: Send) -> None:
        root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
        if root and (path == root or path.startswith(f"{root}/")):
            path = path[len(root) :]
        if path == "" and root:
            # The page's addresses are relative, so it needs the slash at the end.
            await _send(scope, send, HTTPStatus.TEMPORARY_REDIRECT, b"", "text/plain", location=_with_slash(root))
        elif path not in _PATHS:
            await _send(scope, send, HTTPStatus.NOT_FOUND, b"not found\n", "text/plain; charset=utf-8")
        elif scope["method"] not in ("GET", "HEAD"):
            body = b"method not allowed\n"
            await _send(
                scope, send, HTTPStatus.METHOD_NOT_ALLOWED, body, "text/plain; charset=utf-8", allow="GET, HEAD"
            )
        else:
            status, body, kind = await self._content(path or "/")
            await _send(scope, send, status, body, kind)

    async def _content(self, path: str) -> tuple[HTTPStatus, bytes, str]:
        if path in self._files:
            return (HTTPStatus.OK, *self._files[path])
        if path == "/live":
            return _probe("live", self._facts.why_not_live())
        if path == "/ready":
            return _probe("ready", self._facts.why_not_ready())
        try:
            return _json(HTTPStatus.OK, await self._facts.document())
        except NotStartedError as error:  # it stands in another event loop
            return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})


_PATHS: Final = {"", *_FILES, "/status.json", "/live", "/ready"}


def _probe(name: str, trouble: str) -> tuple[HTTPStatus, bytes, str]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK
    return _json(status, {name: not trouble, "reason": trouble})


def _json(status: HTTPStatus, document: dict[str, Any]) -> tuple[HTTPStatus, bytes, str]:
    # In ASCII, so that any character in a name can be encoded.
    return status, json.dumps(document).encode() + b"\n", "application/json"


def _with_slash(root: str) -> str:
    """Return a relative address, because a proxy may have cut the path before it came here."""
    return f"./{quote(root.rsplit('/', 1)[-1])}/"


async def _send(scope: Message, send: Send, status: HTTPStatus, body: bytes, kind: str, **more: str) -> None:
    headers = {"content-type": kind, "content-length": str(len(body)), **_HEADERS, **more}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(status), "headers": encoded})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
