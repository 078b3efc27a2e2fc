"""``aiopartition doctor``: finds out whether the servers can be reached, what they are, and what this client may read.

Nothing is written, so the rights to create and to delete are not tried.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final, TypeVar

from aiopartition.backends.base import Backend
from aiopartition.cli.access import connected
from aiopartition.cli.snapshot import each
from aiopartition.cli.text import Block, Columns, cell
from aiopartition.credentials import Kerberos
from aiopartition.errors import AuthenticationError, BackendError, BackendUnavailableError, PartitionError, rights_text
from aiopartition.settings import Settings
from aiopartition.tls import Tls

__all__ = ["Examination", "ServerLine", "examine", "parse_srvr"]

T = TypeVar("T")

_ROUND_TRIPS: Final = 9
_WORD_LIMIT: Final = 2.0
"""Seconds to wait for the answer to ``srvr``. It does no harm if there is none."""
_LONGEST_WORD: Final = 65_536
_HEADER: Final = ("SERVER", "STATE", "VERSION", "MODE", "GRANTED TIMEOUT", "CONNECT", "ROUND TRIP")
_VERSION: Final = re.compile(r"^Zookeeper version: ([0-9][0-9A-Za-z.]{0,30})", re.MULTILINE)
_MODE: Final = re.compile(r"^Mode: ([a-z-]{1,30})", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One server of the URL, and its answers.

    :ivar problem: why there is no session with it; otherwise empty.
    :ivar version: exact if the server answers ``srvr``; otherwise inferred from what it can do.
    :ivar exact: whether ``version`` comes from ``srvr``.
    :ivar mode: ``leader``, ``follower`` or ``standalone``; ``None`` if the server does not tell.
    :ivar granted: the session timeout that it grants, in seconds.
    :ivar connect: seconds until the session was open, TLS and credentials included.
    :ivar round_trip: seconds that a request takes, the median of several.
    :ivar outdated: whether the server is too old for the library.
    """

    server: str
    problem: str = ""
    version: str | None = None
    exact: bool = False
    mode: str | None = None
    granted: float | None = None
    connect: float | None = None
    round_trip: float | None = None
    outdated: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "server": self.server,
            "reachable": not self.problem,
            "problem": self.problem or None,
            "version": self.version,
            "version_is_exact": self.exact,
            "mode": self.mode,
            "granted_timeout_seconds": self.granted,
            "connect_seconds": self.connect,
            "round_trip_seconds": self.round_trip,
        }

    def row(self) -> tuple[str, ...]:
        granted = "-" if self.granted is None else f"{self.granted:g} s"
        state = "no session" if self.problem else "ok"
        times = ("-" if each is None else f"{each * 1000:.1f} ms" for each in (self.connect, self.round_trip))
        return cell(self.server), state, cell(self.version), cell(self.mode), granted, *times


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of examining an ensemble.

    :ivar asked: the session timeout that was asked for, in seconds.
    :ivar user: the name with which the client logged in; ``None`` without a login, or with Kerberos.
    :ivar kerberos: whether it logged in by Kerberos.
    :ivar groups: how many groups there are; ``None`` if that cannot be known.
    :ivar denied: the errors of reads that were refused.
    :ivar foreign_rights: lines that name ids other than members' which may change nodes; none without credentials.
    """

    url: str
    tls: bool
    user: str | None
    asked: float
    servers: tuple[ServerLine, ...]
    groups: int | None
    denied: tuple[str, ...]
    foreign_rights: tuple[str, ...] = ()
    kerberos: bool = False

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is not as it should be, one line each."""
        lines = [f"{line.server}: {line.problem}" for line in self.servers if line.problem]
        lines += [f"{line.server}: ZooKeeper 3.6 or later is needed" for line in self.servers if line.outdated]
        granted = sorted({line.granted for line in self.servers if line.granted is not None})
        if len(granted) > 1:
            lines.append(f"servers grant different session timeouts: {', '.join(f'{each:g} s' for each in granted)}")
        return (*lines, *self.denied, *self.foreign_rights)

    @property
    def healthy(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "verdict": "ok" if self.healthy else "problems",
            "tls": self.tls,
            "user": self.user,
            "asked_timeout_seconds": self.asked,
            "servers": [line.to_json() for line in self.servers],
            "groups": self.groups,
            "denied": list(self.denied),
            "foreign_rights": list(self.foreign_rights),
            "problems": list(self.problems),
        }

    def blocks(self) -> list[Block]:
        who = "not logged in" if self.user is None else f"logged in as {cell(self.user)}"
        who = "logged in by Kerberos" if self.kerberos else who
        tls = "TLS, with certificates that the given authorities vouch for" if self.tls else "no TLS"
        lines: list[Block] = [
            f"{self.url}: {tls}; {who}",
            Columns(_HEADER, tuple(line.row() for line in self.servers), frozenset({4, 5, 6})),
            f"session timeout asked for: {self.asked:g} s",
        ]
        if any(line.version and not line.exact for line in self.servers):
            lines.append("a server that does not answer srvr was judged by what it can do")
        if self.groups is not None:
            denied = f"{len(self.denied)} reads were denied" if self.denied else "all may be read"
            lines.append(f"{self.groups} groups below the namespace; {denied}")
        lines.append("rights to create and to delete were not tried, as that would write")
        lines += [f"PROBLEM {cell(problem)}" for problem in self.problems]
        return [*lines, f"verdict: {'ok' if self.healthy else 'problems'}"]


async def examine(settings: Settings) -> Examination:
    """Open a session with each server of the URL. Then try on one of them which reads are permitted.

    :param settings: must have a URL.
    """
    url = settings.url
    assert url is not None
    servers = await each(lambda host: _examine_server(settings, host), url.hosts)
    groups, denied, foreign = None, list[str](), list[str]()
    answered = [host for host, line in zip(url.hosts, servers, strict=True) if not line.problem]
    if answered:
        try:
            async with connected(_at(settings, answered[0])) as backend:
                groups = await _try_reads(backend, denied)
                foreign = await _foreign_rights(backend)
        except BackendError as error:
            denied.append(str(error))
    kerberos = isinstance(settings.auth, Kerberos)
    user = None if settings.auth is None or isinstance(settings.auth, Kerberos) else settings.auth.user
    tls = settings.ssl is not None
    return Examination(
        str(url), tls, user, settings.session_timeout, tuple(servers), groups, tuple(denied), tuple(foreign), kerberos
    )


def _at(settings: Settings, host: tuple[str, int]) -> Settings:
    assert settings.url is not None
    return replace(settings, url=replace(settings.url, hosts=(host,)))


async def _examine_server(settings: Settings, host: tuple[str, int]) -> ServerLine:
    name = f"[{host[0]}]:{host[1]}" if ":" in host[0] else f"{host[0]}:{host[1]}"
    began = time.perf_counter()
    try:
        async with asyncio.timeout(2 * settings.connect_timeout), connected(_at(settings, host)) as backend:
            connect = time.perf_counter() - began
            trips = [await _time(backend) for _ in range(_ROUND_TRIPS)]
            granted, modern = backend.session_timeout, await _knows_multi_read(backend)
    except PartitionError as error:
        return ServerLine(name, str(error))
    except TimeoutError:
        return ServerLine(name, "the session was open, and then it did not answer")
    answer = await _ask_word(host, Tls(settings.ssl).context())
    exact, mode = parse_srvr(answer)
    version = exact or ("3.6 or later" if modern else "before 3.6")
    return ServerLine(name, "", version, exact is not None, mode, granted, connect, median(trips), not modern)


async def _time(backend: Backend) -> float:
    began = time.perf_counter()
    await backend.ping()
    return time.perf_counter() - began


async def _knows_multi_read(backend: Backend) -> bool:
    """Return whether the server knows the request that makes several reads at once, which 3.6 introduced."""
    try:
        await backend.marks("-", 0)
    except AuthenticationError:  # it knows the request, and refuses to carry it out
        return True
    except BackendUnavailableError:
        raise
    except BackendError:
        return False
    return True


async def _ask_word(host: tuple[str, int], tls: ssl.SSLContext | None) -> str:
    """Return a server's answer to the four letters ``srvr``; empty if it does not answer them."""
    writer = None
    try:
        async with asyncio.timeout(_WORD_LIMIT):
            reader, writer = await asyncio.open_connection(*host, ssl=tls)
            writer.write(b"srvr")
            return (await reader.read(_LONGEST_WORD)).decode("utf-8", "replace")
    except (OSError, ValueError):  # TimeoutError is an OSError
        return ""
    finally:
        if writer is not None:
            writer.transport.abort()


def parse_srvr(answer: str) -> tuple[str | None, str | None]:
    """Return the version and the mode in an answer to ``srvr``; ``None`` for what it does not say."""
    version, mode = _VERSION.search(answer), _MODE.search(answer)
    return (None if version is None else version[1]), (None if mode is None else mode[1])


async def _try_reads(backend: Backend, denied: list[str]) -> int:
    """Read of each group what the library reads, and add refusals to ``denied``. Return the number of groups.

    :raises BackendError: if the namespace cannot be read, or the connection breaks.
    """
    group_ids = await backend.groups()
    for found in await each(lambda group_id: _denied_in(backend, group_id), group_ids):
        denied += found
    return len(group_ids)


async def _foreign_rights(backend: Backend) -> list[str]:
    """Return which ids other than members' may change nodes. The namespace is looked at even if there are no groups."""
    others: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for found in await each(backend.foreign_rights, await backend.groups() or ("-",)):
        others.update(found.others)
    return rights_text(others)


async def _denied_in(backend: Backend, group_id: str) -> list[str]:
    """Return the errors of reads that are refused in a group. Only one of its entries is tried."""
    denied: list[str] = []

    async def tried(read: Awaitable[T]) -> T | None:
        try:
            return await read
        except AuthenticationError as error:
            denied.append(str(error))
            return None

    await tried(backend.document(group_id))
    entries = await tried(backend.read(group_id, watch=False))
    await tried(backend.progress(group_id, create=False))
    if entries is not None:
        await tried(backend.marks(group_id, entries.generation))
        for name in sorted(entries.names)[:1]:
            await tried(backend.describe(group_id, name))
    return denied
