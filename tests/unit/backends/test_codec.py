"""ZooKeeper's wire format: what we lean on in aiozk is there, the bytes are right, and rubbish does no harm."""

import itertools
import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import pytest
from aiozk import exc as _exc
from aiozk import protocol as _protocol
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiopartition.acl import ALL, CREATOR_ACL, Grant, Permission
from aiopartition.backends.zookeeper import acls, codec, watches
from aiopartition.backends.zookeeper.acls import NodeAcl
from aiopartition.backends.zookeeper.authentication import authenticate
from aiopartition.backends.zookeeper.codec import (
    Children,
    ConnectReply,
    ErrorCode,
    Operation,
    ReplyError,
    Stat,
    Watch,
    Xid,
)
from aiopartition.backends.zookeeper.frames import MAX_FRAME, MAX_SKIPPED, FrameSplitter, ProtocolError, frame
from aiopartition.secret import Secret
from tests.unit.backends.scripted_peer import connect_reply, framed, reply, stat

# aiozk is not typed; what it is really like is what the first tests here look at.
exc: Final[Any] = _exc
protocol: Final[Any] = _protocol


def jute(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!i", len(data)) + data


# ---- the canary: what aiozk must be like


@pytest.mark.parametrize(
    ("name", "opcode", "parts"),
    [
        ("CreateRequest", 1, ["path", "data", "acl", "flags"]),
        ("DeleteRequest", 2, ["path", "version"]),
        ("ExistsRequest", 3, ["path", "watch"]),
        ("GetDataRequest", 4, ["path", "watch"]),
        ("SetDataRequest", 5, ["path", "data", "version"]),
        ("SyncRequest", 9, ["path"]),
        ("PingRequest", 11, []),
        ("GetChildren2Request", 12, ["path", "watch"]),
        ("CloseRequest", -11, []),
        ("AuthRequest", 100, ["type", "scheme", "auth"]),
        ("SetWatchesRequest", 101, ["relative_zxid", "data_watches", "exist_watches", "child_watches"]),
        (
            "ConnectRequest",
            None,
            ["protocol_version", "last_seen_zxid", "timeout", "session_id", "password", "read_only"],
        ),
    ],
)
def test_requests_that_we_make_exist(name: str, opcode: int | None, parts: list[str]) -> None:
    """By these names, with these parts in this order."""
    request: Any = getattr(protocol, name)
    assert request.opcode == opcode
    assert [part for part, _ in request.parts] == parts


@pytest.mark.parametrize(
    ("opcode", "parts"),
    [
        (1, ["path"]),
        (2, []),
        (3, ["stat"]),
        (4, ["data", "stat"]),
        (5, ["stat"]),
        (9, ["path"]),
        (11, []),
        (12, ["children", "stat"]),
        (-11, []),
        (100, []),
        (101, []),
    ],
)
def test_replies_that_we_read_are_found_by_opcode(opcode: int, parts: list[str]) -> None:
    """The table from requests to replies, and the replies' parts."""
    response = protocol.response_xref[opcode]
    assert [part for part, _ in response.parts] == parts
    assert callable(response.deserialize)


def test_other_parts_that_we_read_exist() -> None:
    """Stats, connect replies and watch events have the attributes that we take."""
    stat_parts = dict(protocol.ExistsResponse.parts)["stat"].parts
    assert [name for name, _ in stat_parts] == [
        "created_zxid", "last_modified_zxid", "created", "modified", "version", "child_version", "acl_version",
        "ephemeral_owner", "data_length", "num_children", "last_modified_children",
    ]  # fmt: skip
    assert [name for name, _ in protocol.ConnectResponse.parts][:4] == [
        "protocol_version", "timeout", "session_id", "password",
    ]  # fmt: skip
    assert [name for name, _ in protocol.WatchEvent.parts] == ["type", "state", "path"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ConnectionLoss", -4),
        ("Unimplemented", -6),
        ("NoNode", -101),
        ("NoAuth", -102),
        ("BadVersion", -103),
        ("NodeExists", -110),
        ("SessionExpired", -112),
        ("AuthFailed", -115),
        ("SessionMoved", -118),
    ],
)
def test_error_codes_are_zookeepers(name: str, code: int) -> None:
    """As KeeperException.Code has them, here and in aiozk's table."""
    assert getattr(exc, name).error_code == code
    assert exc.response_error_xref[code] is getattr(exc, name)
    assert code in {each.value for each in ErrorCode}


def test_our_codes_and_numbers_are_zookeepers() -> None:
    """Pinned: those that we act on, the one that aiozk does not know, and the numbers of what answers no request."""
    assert sorted(ErrorCode) == [-124, -118, -115, -112, -111, -110, -103, -102, -101, -6, -4]
    assert {each.name: each.value for each in Xid} == {"WATCH": -1, "PING": -2, "AUTH": -4}
    assert (protocol.WATCH_XID, protocol.PING_XID, protocol.AUTH_XID) == (-1, -2, -4)


# ---- golden bytes: requests

PATH: Final = jute("/ä/b")
WORLD: Final = struct.pack("!ii", 1, 31) + jute("world") + jute("anyone")
AUTHED: Final = struct.pack("!ii", 1, 31) + jute("auth") + jute("")

GOLDEN_REQUESTS: Final[dict[str, tuple[Operation[Any], bytes]]] = {
    "create": (
        acls.create("/ä/b", b"data"),
        struct.pack("!ii", 7, 1) + PATH + b"\0\0\0\4data" + WORLD + struct.pack("!i", 0),
    ),
    "create ephemeral": (
        acls.create("/ä/b", b"", ephemeral=True),
        struct.pack("!ii", 7, 1) + PATH + b"\0\0\0\0" + WORLD + struct.pack("!i", 1),
    ),
    "create protected": (
        acls.create("/ä/b", b"\xff\0", CREATOR_ACL),
        struct.pack("!ii", 7, 1) + PATH + b"\0\0\0\2\xff\0" + AUTHED + struct.pack("!i", 0),
    ),
    "create for": (
        acls.create_for("/ä/b", b"", [Grant("digest:ü:h", ALL), Grant("ip:::1", Permission.READ)], ephemeral=True),
        struct.pack("!iii?i", 7, 14, 1, False, -1)
        + PATH
        + b"\0\0\0\0"
        + struct.pack("!ii", 2, 31)
        + jute("digest")
        + jute("ü:h")
        + struct.pack("!i", 1)
        + jute("ip")
        + jute("::1")
        + struct.pack("!ii?i", 1, 13, False, -1)
        + PATH
        + struct.pack("!ii?i", -1, -1, True, -1),
    ),
    "prove": (
        acls.prove("/ä", CREATOR_ACL),
        struct.pack("!iii?i", 7, 14, 1, False, -1)
        + jute("/ä/proof")
        + b"\0\0\0\0"
        + AUTHED
        + struct.pack("!ii?i", 0, 13, False, -1)
        + jute("/ä/proof")
        + struct.pack("!ii?i", -1, 13, False, -1)
        + jute("/ä/proof")
        + struct.pack("!ii?i", 1, -1, True, -1),
    ),
    "get_acl": (acls.get_acl("/ä/b"), struct.pack("!ii", 7, 6) + PATH),
    "set_acl": (acls.set_acl("/ä/b", CREATOR_ACL, 5), struct.pack("!ii", 7, 7) + PATH + AUTHED + struct.pack("!i", 5)),
    "who_am_i": (acls.who_am_i(), struct.pack("!ii", 7, 107)),
    "delete": (codec.delete("/ä/b"), struct.pack("!ii", 7, 2) + PATH + struct.pack("!i", -1)),
    "replace": (
        acls.replace("/ä/a", "/ä/b", b"data", CREATOR_ACL),
        struct.pack("!iii?i", 7, 14, 2, False, -1)
        + jute("/ä/a")
        + struct.pack("!ii?i", -1, 1, False, -1)
        + PATH
        + b"\0\0\0\4data"
        + AUTHED
        + struct.pack("!ii?i", 1, -1, True, -1),
    ),
    "exists": (codec.exists("/ä/b"), struct.pack("!ii", 7, 3) + PATH + b"\0"),
    "get_data": (codec.get_data("/ä/b"), struct.pack("!ii", 7, 4) + PATH + b"\0"),
    "get_data watching": (codec.get_data("/ä/b", watch=True), struct.pack("!ii", 7, 4) + PATH + b"\1"),
    "set_data": (
        codec.set_data("/ä/b", b"new", 5),
        struct.pack("!ii", 7, 5) + PATH + b"\0\0\0\3new" + struct.pack("!i", 5),
    ),
    "sync": (codec.sync("/ä/b"), struct.pack("!ii", 7, 9) + PATH),
    "ask_quorum": (
        codec.ask_quorum(),
        struct.pack("!iii?i", 7, 14, 13, False, -1) + jute("/") + struct.pack("!ii?i", -1, -1, True, -1),
    ),
    "ping": (codec.ping(), struct.pack("!ii", 7, 11)),
    "get_children": (codec.get_children("/ä/b"), struct.pack("!ii", 7, 12) + PATH + b"\0"),
    "close": (codec.close(), struct.pack("!ii", 7, -11)),
    "authenticate": (
        authenticate("digest", Secret(b"user:p\xc3\xa4ss")),
        struct.pack("!iii", 7, 100, 0) + jute("digest") + b"\0\0\0\x0auser:p\xc3\xa4ss",
    ),
}


@pytest.mark.parametrize("name", GOLDEN_REQUESTS)
def test_request_is_these_bytes(name: str) -> None:
    """Number, opcode, and then the parts as jute lays them out."""
    operation, payload = GOLDEN_REQUESTS[name]
    assert operation.serialize(7) == payload


def test_numbers_of_their_own_are_written_too() -> None:
    """Those of pings and authentication are negative."""
    assert codec.ping().serialize(Xid.PING) == struct.pack("!ii", -2, 11)
    assert authenticate("digest", Secret(b"")).serialize(Xid.AUTH)[:8] == struct.pack("!ii", -4, 100)


def test_only_watching_reads_are_remembered() -> None:
    """An operation tells whether the server watches a path once it has answered."""
    watching = {name: operation.watch for name, (operation, _) in GOLDEN_REQUESTS.items() if operation.watch}
    assert watching == {"get_data watching": Watch("/ä/b")}


@pytest.mark.parametrize(
    "operation",
    [codec.exists("/\ud800"), watches.arm_again([Watch("/a")], 1 << 63)[0], codec.set_data("/a", b"", 1 << 31)],
    ids=["lone surrogate", "zxid", "version"],
)
def test_what_cannot_be_encoded_is_an_error_before_anything_is_sent(operation: Operation[Any]) -> None:
    """So it cannot leave half a frame behind."""
    with pytest.raises((ValueError, struct.error)):
        operation.serialize(1)


def test_frame_is_length_and_payload() -> None:
    """The length in four bytes, big-endian, without itself."""
    assert frame(b"abc") == b"\0\0\0\3abc"
    assert frame(b"") == b"\0\0\0\0"


@pytest.mark.parametrize(
    ("session_id", "password", "timeout", "milliseconds", "zxid"),
    [
        (0, bytes(16), 10.0, 10_000, 0),
        (-(1 << 63), b"0123456789abcdef", 0.0014, 1, (1 << 63) - 1),
        (0x1000_0000_0000_0001, b"", 1_000_000.0, 1_000_000_000, 7),
        (5, b"p", 1e9, 0x7FFFFFFF, 1),
    ],
)
def test_connect_frame_is_these_bytes(
    session_id: int, password: bytes, timeout: float, milliseconds: int, zxid: int
) -> None:
    """The first frame of a connection: never read-only, and no timeout overflows."""
    assert codec.connect_frame(session_id, Secret(password), timeout, zxid).reveal() == framed(
        struct.pack("!iqiqi", 0, zxid, milliseconds, session_id, len(password)) + password + b"\0"
    )


# ---- golden bytes: replies

SOME_STAT: Final = stat(version=3, ephemeral_owner=-5, pzxid=0x2_0000_0009)
SAME_STAT: Final = Stat(
    version=3, ephemeral_owner=-5, children_zxid=0x2_0000_0009, children=8, data_zxid=2, children_changes=5
)

GOLDEN_REPLIES: Final[dict[str, tuple[Operation[Any], bytes, object]]] = {
    "create": (acls.create("/a", b""), jute("/a"), None),
    "create for": (
        acls.create_for("/a", b"", CREATOR_ACL),
        struct.pack("!i?i", 1, False, 0) + jute("/a") + struct.pack("!i?ii?i", 13, False, 0, -1, True, -1),
        None,
    ),
    "get_acl": (
        acls.get_acl("/a"),
        struct.pack("!ii", 2, 31)
        + jute("world")
        + jute("anyone")
        + struct.pack("!i", 33)
        + jute("x509")
        + jute("CN=ä:b")
        + stat(version=3),
        NodeAcl((Grant("world:anyone", ALL), Grant("x509:CN=ä:b", Permission.READ)), 6),
    ),
    "set_acl": (acls.set_acl("/a", CREATOR_ACL, 0), SOME_STAT, None),
    "who_am_i": (
        acls.who_am_i(),
        struct.pack("!i", 2) + jute("ip") + jute("127.0.0.1") + jute("sasl") + jute("a@B"),
        ("ip:127.0.0.1", "sasl:a@B"),
    ),
    "delete": (codec.delete("/a"), b"", None),
    "exists": (codec.exists("/a"), SOME_STAT, SAME_STAT),
    "get_data": (codec.get_data("/a"), b"\0\0\0\4data" + SOME_STAT, (b"data", SAME_STAT)),
    "get_data empty": (codec.get_data("/a"), b"\0\0\0\0" + SOME_STAT, (b"", SAME_STAT)),
    "get_data null": (codec.get_data("/a"), b"\xff\xff\xff\xff" + SOME_STAT, (b"", SAME_STAT)),
    "set_data": (codec.set_data("/a", b"", 0), SOME_STAT, SAME_STAT),
    "sync": (codec.sync("/a"), jute("/a"), None),
    "close": (codec.close(), b"", None),
    "authenticate": (authenticate("digest", Secret(b"")), b"", None),
    "get_children": (
        codec.get_children("/a"),
        struct.pack("!i", 2) + jute("ä") + jute("b;1") + SOME_STAT,
        Children(("ä", "b;1"), SAME_STAT),
    ),
    "get_children none": (
        codec.get_children("/a"),
        struct.pack("!i", 0) + SOME_STAT,
        Children((), SAME_STAT),
    ),
}


@pytest.mark.parametrize("name", GOLDEN_REPLIES)
def test_reply_is_read(name: str) -> None:
    """Of each reply that part which the library uses."""
    operation, body, value = GOLDEN_REPLIES[name]
    assert operation.parse(body) == value


@pytest.mark.parametrize("name", GOLDEN_REPLIES)
def test_reply_of_a_newer_server_may_be_longer(name: str) -> None:
    """Jute's records grow at their ends."""
    operation, body, value = GOLDEN_REPLIES[name]
    assert operation.parse(body + b"more") == value


@pytest.mark.parametrize("name", [name for name, (_, body, _) in GOLDEN_REPLIES.items() if body])
def test_reply_that_is_cut_off_is_no_reply(name: str) -> None:
    """Wherever it ends too early."""
    operation, body, _ = GOLDEN_REPLIES[name]
    for length in range(len(body)):
        with pytest.raises(ProtocolError):
            operation.parse(body[:length])


def test_header_of_a_reply() -> None:
    """Number, transaction and error; the rest is the body."""
    payload = reply(7, b"body", zxid=1 << 40, error=-101)[4:]
    assert codec.parse_header(payload) == (7, 1 << 40, -101, b"body")
    assert codec.parse_header(payload[:16]) == (7, 1 << 40, -101, b"")


@pytest.mark.parametrize("length", range(16))
def test_header_that_is_cut_off_is_told(length: int) -> None:
    """A reply is at least its header."""
    with pytest.raises(ProtocolError, match=f"{length} bytes"):
        codec.parse_header(bytes(length))


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0more"])
def test_connect_reply_is_read(tail: bytes) -> None:
    """With the read-only flag of servers since 3.4, and without."""
    payload = connect_reply(session_id=-7, timeout=4001, password=b"0123456789abcdef")[4:-1] + tail
    assert codec.parse_connect_reply(payload) == ConnectReply(-7, 4.001, Secret(b"0123456789abcdef"))


def test_connect_reply_of_a_server_without_a_quorum() -> None:
    """It would admit readers of old news; none is asked for, and none is taken."""
    payload = connect_reply(session_id=5)[4:-1] + b"\1"
    with pytest.raises(ProtocolError, match="read-only"):
        codec.parse_connect_reply(payload)


def test_connect_reply_of_an_expired_session() -> None:
    """No session, no timeout: that is how a server says it."""
    payload = connect_reply(session_id=0, timeout=0, password=bytes(16))[4:]
    assert codec.parse_connect_reply(payload) == ConnectReply(0, 0.0, Secret(bytes(16)))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        connect_reply(session_id=5)[4:20],
        connect_reply(session_id=5, timeout=0)[4:],
        connect_reply(session_id=5, timeout=-4000)[4:],
        struct.pack("!iiqi", 0, 4000, 5, -1),
        struct.pack("!iiqi", 0, 4000, 5, -2),
        struct.pack("!iiqi", 0, 4000, 5, 0x7FFFFFFF),
        struct.pack("!iiqi", 0, 4000, 5, 16) + bytes(15),
    ],
)
def test_connect_reply_that_is_none(payload: bytes) -> None:
    """A session needs a timeout and a password, or it could be neither kept nor taken up again."""
    with pytest.raises(ProtocolError):
        codec.parse_connect_reply(payload)


# ---- rubbish

PARSERS: Final[dict[str, Callable[[bytes], object]]] = {
    "header": codec.parse_header,
    "connect reply": codec.parse_connect_reply,
    "event": watches.parse_event,
    **{name: operation.parse for name, (operation, _, _) in GOLDEN_REPLIES.items()},
}

lengths: Final = st.sampled_from([-(1 << 31), -2, -1, 0, 1, 2, 16, 1 << 20, (1 << 31) - 1]).map(
    lambda number: struct.pack("!i", number)
)
rubbish: Final = st.one_of(
    st.binary(max_size=100),
    st.lists(st.one_of(lengths, st.binary(max_size=20), st.just(SOME_STAT), st.just(b"\xff\xfe")), max_size=6).map(
        b"".join
    ),
)


@given(body=rubbish)
@settings(max_examples=300, deadline=None)
@example(struct.pack("!i", 1) + struct.pack("!i", -1) + SOME_STAT)
@example(struct.pack("!i", 1) + struct.pack("!i", 2) + b"\xff\xfe" + SOME_STAT)
@example(struct.pack("!i", -5) + SOME_STAT)
@example(b"\xff\xff\xff\xff" + bytes(8) + b"\1" + bytes(4) + b"\1" + bytes(4))
def test_rubbish_is_a_protocol_error(body: bytes) -> None:
    """Whatever a server sends is read, or refused with that one error; and what is read has the types that it says."""
    for name, parse in PARSERS.items():
        try:
            value = parse(body)
        except (ProtocolError, ReplyError) as error:  # the second if it reads as the refusal of one part of several
            assert str(error)
            continue
        match value:
            case Children(names, Stat()):
                assert all(type(each) is str for each in names)
            case (data, Stat()):
                assert type(data) is bytes
            case ConnectReply(session_id, timeout, password):
                assert (type(session_id), type(timeout), type(password.reveal())) == (int, float, bytes)
                assert timeout > 0 or not session_id
            case _:
                assert value is None or isinstance(value, str | Stat | tuple), name


@pytest.mark.parametrize("count", [(1 << 31) - 1, 1 << 30, 1_000_000])
@pytest.mark.parametrize("filler", [b"", b"\0", b"\xff", b"\0\0\0\1a"], ids=["none", "empty", "null", "a"])
def test_huge_counts_cost_no_more_than_what_was_sent(count: int, filler: bytes) -> None:
    """A vector that claims two thousand million items takes the memory and time of those that are there."""
    body = struct.pack("!i", count) + filler * (20_000 // max(1, len(filler)))
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(ProtocolError):
            codec.get_children("/a").parse(body)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(body) + 100_000
    finally:
        tracemalloc.stop()
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("size", [(1 << 31) - 1, 1 << 30, -2, -(1 << 31)])
@pytest.mark.parametrize("name", ["get_data", "create", "connect reply", "event"])
def test_huge_and_negative_sizes_are_refused(name: str, size: int) -> None:
    """A text or buffer that claims two gigabytes reserves nothing."""
    prefix = {"connect reply": struct.pack("!iiq", 0, 4000, 5), "event": struct.pack("!ii", 4, 3)}.get(name, b"")
    tracemalloc.start()
    try:
        # What creating a node answers is the path, and a path is what an operation of no result has to be.
        with pytest.raises(ProtocolError):
            PARSERS[name](prefix + struct.pack("!i", size) + bytes(50))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# ---- frames

payloads: Final = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


@given(frames=payloads, cuts=st.lists(st.integers(0, 400)), tail=st.binary(max_size=3))
@settings(max_examples=200, deadline=None)
@example([b"a", b"b"], list(range(20)), b"")
def test_any_split_of_a_stream_gives_the_same_frames(frames: list[bytes], cuts: list[int], tail: bytes) -> None:
    """TCP keeps the order of bytes, and nothing else."""
    stream = b"".join(map(framed, frames)) + tail
    splitter = FrameSplitter()
    borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    received = [payload for start, end in itertools.pairwise(borders) for payload in splitter.feed(stream[start:end])]
    assert received == frames
    assert all(type(payload) is bytes for payload in received)


def test_frame_is_given_out_as_soon_as_it_is_complete() -> None:
    """With its very last byte, and not with the next frame's first."""
    splitter = FrameSplitter()
    stream = framed(b"abc")
    assert [splitter.feed(stream[at : at + 1]) for at in range(len(stream))] == [[]] * 6 + [[b"abc"]]
    assert splitter.feed(b"") == []


@pytest.mark.parametrize("size", [0, -1, -(1 << 31), MAX_SKIPPED + 1, (1 << 31) - 1])
def test_bad_length_is_a_protocol_error(size: int) -> None:
    """Neither empty nor negative nor longer than any server sends: it is told as soon as the length is there."""
    splitter = FrameSplitter()
    header = struct.pack("!i", size)
    assert splitter.feed(header[:3]) == []
    with pytest.raises(ProtocolError, match=f"frame of {size} bytes"):
        splitter.feed(header[3:])


def test_bad_length_after_good_frames() -> None:
    """What came before it is no excuse."""
    with pytest.raises(ProtocolError):
        FrameSplitter().feed(framed(b"good") + framed(b"good") + bytes(4))


def test_text_in_place_of_frames_is_a_protocol_error() -> None:
    """Somebody else's server: its greeting, read as a length, is far too long."""
    with pytest.raises(ProtocolError):
        FrameSplitter().feed(b"HTTP/1.1 400 Bad Request\r\n")


def test_longest_frame_is_accepted() -> None:
    """The limit is far above what servers send, and itself allowed."""
    splitter = FrameSplitter()
    assert splitter.feed(struct.pack("!i", MAX_FRAME)) == []
    half = bytes(MAX_FRAME // 2)
    assert splitter.feed(half) == []
    assert splitter.feed(half) == [bytes(MAX_FRAME)]


def test_memory_is_bounded() -> None:
    """However many frames pass: nothing is kept but the beginning of the one that is not complete."""
    splitter = FrameSplitter()
    stream = framed(bytes(10_000)) * 10
    splitter.feed(stream)
    tracemalloc.start()
    try:
        for _ in range(100):
            splitter.feed(stream[:-1])
            splitter.feed(stream[-1:])
        assert tracemalloc.get_traced_memory()[1] < 5 * len(stream)
        assert tracemalloc.get_traced_memory()[0] < len(stream)
    finally:
        tracemalloc.stop()


def test_long_frame_in_small_pieces_is_cheap() -> None:
    """A frame of 4 MB in 1,000 pieces: the time goes with the bytes, not with their square."""
    splitter = FrameSplitter()
    piece = bytes(4_000)
    begun = time.process_time()
    splitter.feed(struct.pack("!i", 4_000_000))
    for _ in range(999):
        assert splitter.feed(piece) == []
    assert len(splitter.feed(piece)) == 1
    assert time.process_time() - begun < 1


# ---- errors


def test_known_refusal_is_named() -> None:
    """The code for the manual, the name for people."""
    assert str(ReplyError(-101)) == "ZooKeeper error -101 (NoNode)"
    assert str(ReplyError(ErrorCode.NO_AUTH)) == "ZooKeeper error -102 (NoAuth)"


@pytest.mark.parametrize("code", [*filter(None, exc.response_error_xref), -124, -125, -999, 1, 1 << 31])
def test_any_refusal_can_be_shown(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of codes that aiozk does not know, for which it would print to the standard output."""
    error = ReplyError(code)
    assert error.code == code
    assert str(error).startswith(f"ZooKeeper error {code:d}")
    assert repr(error)
    assert capsys.readouterr() == ("", "")
