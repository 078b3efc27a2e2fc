"""Watches: the bytes of their requests, and the events that come of them."""

import struct
from typing import Any, Final

import pytest

from aiopartition.backends.zookeeper import codec, watches
from aiopartition.backends.zookeeper.codec import Operation, Watch, Xid
from aiopartition.backends.zookeeper.frames import ProtocolError
from aiopartition.backends.zookeeper.watches import WatchEvent
from tests.unit.backends.scripted_peer import event


def jute(text: str) -> bytes:
    return struct.pack("!i", len(text.encode())) + text.encode()


WATCHED: Final = {Watch("/b"), Watch("/c", recursive=True), Watch("/a")}

GOLDEN: Final[dict[str, tuple[Operation[Any], bytes]]] = {
    "add": (watches.add("/ä/b"), struct.pack("!ii", 7, 106) + jute("/ä/b") + struct.pack("!i", 1)),
    "remove": (watches.remove("/ä/b"), struct.pack("!ii", 7, 18) + jute("/ä/b") + struct.pack("!i", 3)),
    "arm again": (
        watches.arm_again(WATCHED, 0x1_0000_0007)[0],
        struct.pack("!iiqi", 7, 105, 0x1_0000_0007, 2)
        + jute("/a") + jute("/b") + struct.pack("!iiii", 0, 0, 0, 1) + jute("/c"),
    ),
    "none": (watches.no_watches(), struct.pack("!iiqiiiii", 7, 105, 0, 0, 0, 0, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_request_is_these_bytes(name: str) -> None:
    """As ``zookeeper.jute`` has them: setWatches2 has five lists of paths. The answers have no body."""
    operation, payload = GOLDEN[name]
    assert operation.serialize(7) == payload
    assert operation.parse(b"") is None


def test_only_what_arms_a_watch_is_remembered() -> None:
    """By the session, when it is answered."""
    assert {name: operation.watch for name, (operation, _) in GOLDEN.items() if operation.watch} == {
        "add": Watch("/ä/b", recursive=True)
    }


def test_many_watches_are_armed_in_pieces() -> None:
    """A server drops the connection over a request of more than 1 MB, and would do so after each reconnect."""
    paths = {f"/namespace/{number:04}{'x' * 1000}" for number in range(1000)}
    payloads = [operation.serialize(7) for operation in watches.arm_again(map(Watch, paths), 5)]
    assert 8 <= len(payloads) <= 9
    assert max(map(len, payloads)) < 140 << 10
    assert all(sum(payload.count(path.encode()) for payload in payloads) == 1 for path in paths)
    assert watches.arm_again([], 5) == []


@pytest.mark.parametrize("kind", [1, 2, 3, 4, -1, 99])
def test_event_tells_its_path_and_kind(kind: int) -> None:
    """Whatever has happened there, also what only newer servers know."""
    xid, _, _, body = codec.parse_header(event("/ä/members", kind)[4:])
    assert xid == Xid.WATCH
    assert watches.parse_event(body) == WatchEvent("/ä/members", kind)


def test_event_without_a_path() -> None:
    """As servers send when it is the state of the session that has changed."""
    assert watches.parse_event(struct.pack("!iii", -1, 3, -1)).path == ""
    assert watches.parse_event(struct.pack("!iii", -1, 3, 0)).path == ""


@pytest.mark.parametrize("body", [b"", bytes(11), event("/ab")[20:-1], event("/ab")[20:-1] + b"\xff"])
def test_what_is_no_event(body: bytes) -> None:
    """Too short, cut off in its path, not UTF-8."""
    with pytest.raises(ProtocolError):
        watches.parse_event(body)
