"""What the ensemble did, read from the transaction logs of its servers.

A server logs each transaction before it acknowledges it, with its number and the leader's wall clock to the
millisecond: every entry that was ever created, and the very moment at which a session was given up. No client can see
as much, however fast it asks. What is logged but was never agreed on (by a leader that lost its followers) is cut off
when that server joins the others again.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import ZooKeeperServer

MAGIC = b"ZKLG"
FILE_HEADER = 16
RECORD_HEADER = struct.Struct("!qi")  # Adler-32 of the record, and its length; then one byte that ends it
TRANSACTION_HEADER = struct.Struct("!qiqqi")  # session, xid, zxid, milliseconds since 1970, type

CREATE, DELETE, CREATE2, MULTI, CREATE_CONTAINER, CREATE_TTL, CLOSE_SESSION, ERROR = 1, 2, 15, 14, 19, 21, -11, -1
CREATIONS = {CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL}


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a transaction that concerns the tree."""

    path: str
    created: bool
    """Else it was deleted."""
    data: bytes = b""
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction: the changes it made to nodes, and whether it ended its session, with all its ephemeral nodes."""

    zxid: int
    session: int
    time: float
    """Seconds on the leader's wall clock, rounded down to milliseconds."""
    ends_session: bool
    changes: tuple[Change, ...]


def logged(logs: Iterable[Iterable[Path]]) -> dict[int, Transaction]:
    """All transactions in the files of all servers, by number.

    All servers must be up and follow the leader: then most of what was not agreed on is gone. To have a transaction
    from several servers proves nothing more, as one that was away may get a snapshot of what the others have logged.
    """
    return {
        transaction.zxid: transaction for files in logs for path in files for transaction in read_log(path.read_bytes())
    }


def forgotten(zxids: Iterable[int], epochs: Mapping[int, int]) -> set[int]:
    """The transactions that some leader did not know of when it began its epoch, and that so never were.

    Clients may have seen them all the same. A server of ZooKeeper 3.8 that stops between writing down a new epoch and
    writing down the transactions that it got with it is elected although it lacks them (ZOOKEEPER-4643). And one that
    wrote down its tree when it tried to lead, with what was never agreed on, goes on from that tree when it is told to
    cut its log off: then no log has what its clients see.

    :param epochs: for each epoch, by its first number, the last transaction that its leader knew of; 0 if it knew of
        none, so that there was nothing to forget.
    """
    return {zxid for zxid in zxids if any(0 < known < zxid < first for first, known in epochs.items())}


def epochs_of(servers: Iterable[ZooKeeperServer]) -> dict[int, int]:
    """For each epoch of an ensemble, by its first number, the last transaction that its leader knew of."""
    return {first: known for server in servers for first, known in server.epochs_led().items()}


def history(servers: Sequence[ZooKeeperServer]) -> tuple[dict[int, Transaction], dict[int, int]]:
    """All transactions of an ensemble that are logged, by number, and its epochs, which tell what it has forgotten."""
    return logged([server.transaction_logs() for server in servers]), epochs_of(servers)


def read_log(content: bytes) -> Iterator[Transaction]:
    """The transactions of one file, as far as it is whole."""
    if not content.startswith(MAGIC):
        return  # it has been opened and nothing is written yet
    position = FILE_HEADER
    while position + RECORD_HEADER.size <= len(content):
        checksum, length = RECORD_HEADER.unpack_from(content, position)
        start = position + RECORD_HEADER.size
        record = content[start : start + length]
        if length <= 0 or zlib.adler32(record) != checksum:
            return  # the space that is allocated ahead, or a record that is being written
        yield parse(record)
        position = start + length + 1


def parse(record: bytes) -> Transaction:
    """One record of a log."""
    session, _, zxid, milliseconds, kind = TRANSACTION_HEADER.unpack_from(record)
    changes = tuple(changes_of(kind, record[TRANSACTION_HEADER.size :]))
    return Transaction(zxid, session, milliseconds / 1000, kind == CLOSE_SESSION, changes)


def changes_of(kind: int, body: bytes) -> Iterator[Change]:
    """What a transaction of this type does to the tree. What else there is (data, rights, sessions) does nothing."""
    reader = Reader(body)
    if kind in CREATIONS:
        path, data = reader.buffer().decode(), reader.buffer()
        for _ in range(reader.integer()):  # rights
            reader.integer()
            reader.buffer()
            reader.buffer()
        yield Change(path, True, data, kind in (CREATE, CREATE2) and reader.byte() == 1)
    elif kind == DELETE:
        yield Change(reader.buffer().decode(), False)
    elif kind == MULTI:
        count = reader.integer()
        parts = [(reader.integer(), reader.buffer()) for _ in range(count)]
        if ERROR not in [part for part, _ in parts]:  # else all of it was refused
            for part, content in parts:
                yield from changes_of(part, content)


class Reader:
    """Jute's encoding."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def integer(self) -> int:
        return int.from_bytes(self._take(4), signed=True)

    def byte(self) -> int:
        return self._take(1)[0]

    def buffer(self) -> bytes:
        length = self.integer()
        return b"" if length < 0 else self._take(length)  # -1 stands for null

    def _take(self, count: int) -> bytes:
        self._position += count
        return self._content[self._position - count : self._position]
