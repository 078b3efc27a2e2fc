"""When to say something to a server, and when to leave it for another."""

from __future__ import annotations

import math
from typing import Final

from aiopartition.backends.zookeeper import codec
from aiopartition.backends.zookeeper.codec import Xid
from aiopartition.backends.zookeeper.connection import Connection
from aiopartition.clock import Clock

__all__ = ["KeepAlive"]

_SOON: Final = 0.001  # seconds: a timer may fire a little early
_UNREAD: Final = 0.05  # seconds in which the event loop reads what lies in the socket


class KeepAlive:
    """Looks after one connection. Of a session timeout T:

    A server that we have left alone for T/4 is pinged, one that is silent for T/2 is left. So it has T/4 for an answer;
    and T/6 of the lease is left, in which to find another before anybody notices.

    While a lease is needed that only a quorum renews, a quorum is asked T/6 after the last question that one has
    answered, and has T/3 for the answer, which is T/2 in all again. A server that answers everything else meanwhile is
    left as well: it may be cut off from an ensemble that others can reach. Mostly it is silent then, as the answers to
    one session come in the order of its requests. So where no quorum can be reached, the lease that any answer renews
    ends earlier than it would without these questions.
    """

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._question = 0  # the number of the last one that was put to a quorum

    def look(self, timeout: float, agreed: float | None, *, late: bool) -> float:
        """Do what is due.

        :param timeout: T.
        :param agreed: when the last request was sent to which a quorum has agreed; ``None`` while that does not matter.
        :param late: this process itself was away. Then the server's words may lie unread in the socket: read first.
        :returns: seconds to the next look. Not more than T/6, as it may come to matter at any time.
        """
        connection = self._connection
        if connection.ending:
            connection.abort("the server closed the connection")  # which takes a transport some turns, or a TLS timeout
            return 0.0
        now = self._clock()
        silent_at = connection.last_received + timeout / 2
        undecided_at = math.inf if agreed is None else connection.sent_at(self._question) + timeout / 3
        if now >= min(silent_at, undecided_at) and not late:
            told = "no word from the server" if now >= silent_at else "no answer from a quorum"
            since = connection.last_received if now >= silent_at else undecided_at - timeout / 3
            connection.abort(f"{told} for {now - since:.1f} s")
            return 0.0
        ask_at = math.inf
        if agreed is not None and undecided_at == math.inf:
            ask_at = agreed + timeout / 6
            if now >= ask_at:
                self._question = connection.next_xid()
                connection.post(self._question, codec.ask_quorum())
                ask_at, undecided_at = math.inf, now + timeout / 3
        ping_at = math.inf if connection.awaits(Xid.PING) else connection.last_sent + timeout / 4
        if now >= ping_at:
            connection.post(Xid.PING, codec.ping())
            ping_at = math.inf
        look_at = min(silent_at, undecided_at, ask_at, ping_at, now + timeout / 6)
        return max(_UNREAD if late else _SOON, look_at - now)
