"""``watch`` on a terminal and into a pipe, and ``doctor`` on servers of several kinds."""

import asyncio
import codecs
import os
import pty
import signal
import sys
import termios
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rights import url_of
from tests.support import ZooKeeperServer, wait_until
from tests.support.admin import Operator, rights
from tests.support.command_line import command, data
from tests.support.fleet import Fleet
from tests.support.ports import free_port
from tests.support.tls import Certificates


class Terminal:
    """A command on a terminal of its own, and all that it has written there."""

    def __init__(self, process: asyncio.subprocess.Process, reader: int) -> None:
        self.process = process
        self.reader = reader
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        os.set_blocking(reader, False)

    def shows(self, text: str) -> bool:
        with suppress(OSError):  # nothing now, or no more
            self.text += self._decoder.decode(os.read(self.reader, 1 << 20))
        return text in self.text


@asynccontextmanager
async def terminal(*arguments: str) -> AsyncGenerator[Terminal]:
    reader, writer = pty.openpty()
    # Otherwise the command would ignore SIGINT if these tests do, as all programs do that a shell starts with "&".
    here = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aiopartition", *arguments), stdin=DEVNULL, stdout=writer, stderr=PIPE,
            env={**os.environ, "COLUMNS": "60", "LINES": "20", "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        try:
            yield Terminal(process, reader)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
    finally:
        signal.signal(signal.SIGINT, here)
        os.close(writer)
        os.close(reader)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_watch_on_a_terminal(
    zookeeper: ZooKeeperServer, namespace: str, fleet: Fleet, sent: signal.Signals, status: int
) -> None:
    """It follows the group, and gives the terminal back as it was, in silence."""
    url = zookeeper.url(namespace)
    first = await fleet.start(url, "first", join=False)
    await first.join_group("g")
    async with terminal("watch", url, "g") as shown:
        settings = termios.tcgetattr(shown.reader)
        await wait_until(lambda: shown.shows("1 members at generation"))
        second = await fleet.start(url, "second", join=False)
        await second.join_group("g", weight=2)
        await wait_until(lambda: shown.shows("+second; moved"))
        await second.set_weight("g", 0)
        await wait_until(lambda: shown.shows("0 (drained)"))
        await second.stop()
        await wait_until(lambda: shown.shows("-second; moved"))
        shown.process.send_signal(sent)
        await wait_until(lambda: shown.shows("\x1b[?1049l"))  # it cannot end before somebody has read what it writes
        assert await shown.process.wait() == status
        assert shown.process.stderr is not None
        assert await shown.process.stderr.read() == b""
        assert shown.text.startswith("\x1b[?1049h\x1b[?25l")
        assert shown.text.endswith("\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(shown.reader) == settings


async def test_watch_into_a_pipe(zookeeper: ZooKeeperServer, namespace: str, fleet: Fleet) -> None:
    """A line for each change, at once, without colours; and the end of the reader is its own."""
    url = zookeeper.url(namespace)
    first = await fleet.start(url, "first", join=False)
    await first.join_group("g")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiopartition", "watch", url, "g"), stdout=PIPE, stderr=PIPE, stdin=DEVNULL
    )
    assert process.stdout is not None
    assert b"1 members" in await process.stdout.readline()
    second = await fleet.start(url, "second", join=False)
    await second.join_group("g")
    line = await process.stdout.readline()
    assert b"+second; moved" in line
    assert b"\x1b" not in line
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    await second.leave_group("g")
    assert await process.wait() == 141
    assert process.stderr is not None
    assert await process.stderr.read() == b""


async def test_watch_waits_for_a_group(zookeeper: ZooKeeperServer, namespace: str, fleet: Fleet) -> None:
    """One that does not exist yet is shown when somebody makes it."""
    url = zookeeper.url(namespace)
    async with terminal("watch", f"{url}?heartbeat=0.1", "g") as shown:
        await wait_until(lambda: shown.shows("the group does not exist"))
        first = await fleet.start(url, "first", join=False)
        await first.join_group("g")
        await wait_until(lambda: shown.shows("1 members at generation"))


async def test_watch_without_a_server(url: str, zookeeper: ZooKeeperServer) -> None:
    await zookeeper.kill()
    ended = await command("watch", url, "g", "--timeout", "0.3")
    assert (ended.status, ended.out, ended.err.count("\n")) == (4, "", 1)


async def test_doctor(zookeeper: ZooKeeperServer, namespace: str, fleet: Fleet) -> None:
    """One server of two answers: it is told what it is, and the other's trouble is the verdict."""
    first = await fleet.start(zookeeper.url(namespace), "first", join=False)
    await first.join_group("g")
    found = await data("doctor", zookeeper.url(namespace))
    [server] = found["servers"]
    assert (found["verdict"], found["groups"], found["tls"], found["user"]) == ("ok", 1, False, None)
    assert (server["version_is_exact"], server["mode"]) == (True, "standalone")
    assert server["granted_timeout_seconds"] == 4.0  # 20 ticks
    assert 0 < server["round_trip_seconds"] < server["connect_seconds"]

    dead = f"127.0.0.1:{free_port()}"
    url = f"zookeeper://{dead},{zookeeper.address}{namespace}"
    found = await data("doctor", url, "--timeout", "0.5", status=1)
    assert [each["reachable"] for each in found["servers"]] == [False, True]
    assert found["problems"][0].startswith(dead)
    assert found["groups"] == 1
    ended = await command("doctor", url, "--timeout", "0.5")
    assert (ended.status, ended.err) == (1, "")
    assert f"PROBLEM {dead}" in ended.out
    found = await data("doctor", f"zookeeper://{dead}", "--timeout", "0.3", status=1)
    assert found["groups"] is None


@asynccontextmanager
async def without_words(server: ZooKeeperServer) -> AsyncGenerator[str]:
    """The address of a front that lets only ZooKeeper's protocol through, as some load balancers do."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while some := await reader.read(65_536):
            writer.write(some)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(4)
        if first != b"srvr":
            back, forth = await asyncio.open_connection(server.host, server.port)
            forth.write(first)
            pumps = {asyncio.create_task(pump(reader, forth)), asyncio.create_task(pump(back, writer))}
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for each in pumps:
                each.cancel()
            await asyncio.wait(pumps)
            forth.transport.abort()
        writer.transport.abort()

    front = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with front:
        yield "{}:{}".format(*front.sockets[0].getsockname())


async def test_doctor_without_four_letter_words(zookeeper: ZooKeeperServer, namespace: str) -> None:
    """A server that does not answer srvr is judged by what it can do."""
    async with without_words(zookeeper) as address:
        url = f"zookeeper://{address}{namespace}"
        found = await data("doctor", url)
        [line] = found["servers"]
        assert (found["verdict"], line["version"], line["version_is_exact"]) == ("ok", "3.6 or later", False)
        assert "judged by what it can do" in (await command("doctor", url)).out


async def test_doctor_tells_what_may_not_be_read(
    guarded_server: ZooKeeperServer, administrator: Operator, namespace: str
) -> None:
    """The node and the right are named."""
    member, reader = ("member", "secret"), ("reader", "looks")
    await administrator.create(namespace, acl=[rights(member, "crwd"), rights(reader, "r")])
    await administrator.create(f"{namespace}/g", acl=[rights(member, "crwd")])
    found = await data(
        "doctor", url_of(guarded_server, namespace), "--auth-from-env", status=1,
        environment={"AIOPARTITION_AUTH": "reader:looks"},
    )  # fmt: skip
    assert (found["groups"], found["user"]) == (1, "reader")
    assert [each for each in found["denied"] if f"{namespace}/g: permission READ denied" in each]
    assert "looks" not in str(found)
    found = await data("doctor", url_of(guarded_server, namespace), status=1)
    assert found["groups"] is None
    assert f"{namespace}: permission READ denied" in found["problems"][0]


async def test_tls(namespace: str, tmp_path: Path) -> None:
    """With the authority and a certificate everything is as without TLS; without them it is said what is missing."""
    certificates, port = Certificates(tmp_path), free_port()
    ca, cert = tmp_path / "ca.pem", tmp_path / "client.pem"
    ca.write_bytes(certificates.authority.cert_pem.bytes())
    certificates.authority.issue_cert("operator").private_key_and_cert_chain_pem.write_to_path(cert)
    files: list[Any] = ["--ca", str(ca), "--cert", str(cert)]
    async with ZooKeeperServer(settings=certificates.server_settings(port, client_certificate=True)):
        url = f"zookeeper://localhost:{port}{namespace}"
        found = await data("doctor", url, *files)
        assert (found["verdict"], found["tls"], found["servers"][0]["version_is_exact"]) == ("ok", True, True)
        assert (await command("groups", url, *files)).status == 0
        by_url = f"zookeeper+tls://localhost:{port}{namespace}?ca={ca}&cert={cert}"
        assert (await data("doctor", by_url))["tls"] is True
        assert (await command("groups", by_url)).status == 0
        assert (await command("watch", by_url, "g", "--cert", "/missing")).status == 2
        untrusted = await command("groups", url, "--cert", str(cert), "--timeout", "3")
        assert (untrusted.status, untrusted.out) == (5, "")
        assert "certificate" in untrusted.err
        assert (await command("groups", url, "--ca", str(ca), "--timeout", "3")).status in (4, 5)
