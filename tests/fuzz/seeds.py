"""What the search begins with: good input of each kind, of which it makes bad."""

import json
import struct
from typing import Final

from aiopartition.placement.policy import GroupPolicy
from tests.fuzz.targets import FRAME_BORDER
from tests.unit.backends.scripted_peer import connect_reply, event, reply, stat

NONCE: Final = "0123456789abcdef"
POLICY: Final = GroupPolicy().as_json()
NAMES: Final = struct.pack("!ii1si2si", 3, 1, b"a", 2, b"bc", -1)
IDS: Final = struct.pack("!ii5si8s", 1, 5, b"world", 8, b"anyone;1")
ACL: Final = struct.pack("!iii4si3s", 1, 31, 4, b"sasl", 3, b"a@B")
TRANSACTION: Final = struct.pack("!i?ii2si?ii?i", 1, False, 0, 2, b"/g", 13, False, 0, -1, True, -1)
ACL_FREE_DATA: Final = struct.pack("!i4s", 4, b"data")


def conversation(*frames: bytes) -> bytes:
    """Frames of one's own, as :func:`tests.fuzz.targets.frames` takes them in its two ways."""
    return b"\x00\xff" + FRAME_BORDER.join(frame[4:] for frame in frames)


GOOD_FRAMES: Final = [
    connect_reply(5),
    reply(1, stat(version=3), zxid=7),
    event("/g/members"),
    reply(2, NAMES + stat(pzxid=9), zxid=9),
    reply(3, ACL_FREE_DATA + stat()),
    reply(4, struct.pack("!i2s", 2, b"/g")),
    reply(5, stat()),
    reply(6, error=-101),
    reply(11, TRANSACTION),
    reply(12, ACL + stat()),
    reply(13, stat()),
    reply(14, IDS),
    reply(-2),
    reply(-4),
]

SEEDS: Final[dict[str, list[bytes]]] = {
    "entry_name": [
        f"{member};{weight};{incarnation};{NONCE}".encode()
        for member, weight, incarnation in [
            ("a", 1, 1),
            ("a%2Fb", 1000, 0),
            ("%2E", 9, 10**18 - 1),
            ("%C3%BC", 2, 3),
            ("drained", 0, 1),
        ]
    ],
    "url": [
        b"zookeeper://user:pass%40word@a:1,[::1]:2/name/space?session_timeout=4&connect_timeout=1.5&heartbeat=0.1",
        b"zookeeper://h",
        b"zookeeper+tls://user:pw@h,g:1/n?ca=/etc/ca.pem&cert=c%20d.pem&key=k&heartbeat=1",
        b"memory://name?heartbeat=3",
    ],
    "document": [
        json.dumps({"format": 1, "policy": policy}).encode()
        for policy in (POLICY, {}, {**POLICY, "slots": 64}, {**POLICY, "new": [1, None, 1e9, "x"]})
    ],
    "frames": [
        conversation(*GOOD_FRAMES),
        b"\xff\x03" + b"".join(GOOD_FRAMES),
        b"\xff\xff" + struct.pack("!i", 0x7FFFFFFF) + bytes(64),
        conversation(connect_reply(0), reply(1, error=-112)),
    ],
    "challenge": [
        b'realm="zk-sasl-md5",nonce="OA6MG9tEQGm2hh",charset=utf-8,algorithm=md5-sess',
        b'nonce="a\\"b" , qop="auth,auth-int",\tmaxbuf=65536, cipher="3des,rc4",algorithm=md5-sess,stale=true',
        b'realm="\xc3\xbc",realm="b",nonce=n,charset=utf-8,algorithm=md5-sess,unknown=1',
        b'realm="\xfc",nonce="n",algorithm=md5-sess',
    ],
}

DICTIONARY: Final[dict[str, list[bytes]]] = {
    "entry_name": [b";", b"%2E", b"%ff", b"1000", b"1001", NONCE.encode()],
    "url": [
        b"://",
        b"zookeeper://",
        b"zookeeper+tls://",
        b"memory://",
        b"@",
        b"%40",
        b"[::1]",
        b"session_timeout=",
        b"heartbeat=",
        b"ca=",
        b"&key=",
        b"?",
    ],
    "document": [b'"format"', b'"policy"', b'"slots"', b"1e999", b"NaN", b"null", b"\\ud800", b"[[[[", b"{}"],
    "challenge": [b"realm=", b"nonce=", b"qop=", b"charset=", b"utf-8", b"algorithm=", b"md5-sess", b'"', b"\\", b","],
    "frames": [
        FRAME_BORDER,
        *(struct.pack("!i", number) for number in (0, 1, 2, -1, -2, -4, -112, 1 << 24, (1 << 24) + 1, 0x7FFFFFFF)),
        stat(),
    ],
}
