"""Decides when to send something to a server, and when to leave it for another."""

from __future__ import annotations

import math
from typing import Final

from aiopartition.backends.zookeeper import codec, watches
from aiopartition.backends.zookeeper.codec import Xid
from aiopartition.backends.zookeeper.connection import Connection
from aiopartition.clock import Clock

__all__ = ["KeepAlive"]

_SOON: Final = 0.001  # seconds: a timer may fire a little early
_UNREAD: Final = 0.05  # seconds in which the event loop reads what lies in the socket


class KeepAlive:
    """Keeps one connection alive. T is the session timeout.

    A server to which nothing was sent for T/4 is pinged. A server that has been silent for T/2 is left: it had T/4 to
    answer, and T/6 of the lease remains for finding another server before the lease ends.

    While the quorum lease is needed, a quorum is asked T/6 after it was last asked successfully, and has T/3 to answer:
    T/2 in total, as above. If it does not, the server is left even if it answers other requests, because it may be cut
    off from a quorum that another server can reach. Usually it answers nothing, as a server answers the requests of one
    session in order. So if no quorum can be reached, the other lease ends earlier than it would without these requests.

    While a long frame arrives, answers have to wait behind it. The server is not left as long as the frame makes
    progress, and T/4 after the last request another is sent, even if the last ping has not been answered: the server
    counts what it hears, and would otherwise expire the session.
    """

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._question = 0  # the number of the last request that asked a quorum

    def look(self, timeout: float, agreed: float | None, *, late: bool) -> float:
        """Send or end what is due.

        :param timeout: T, in seconds.
        :param agreed: when the last request was sent that a quorum has answered; ``None`` if no quorum lease is needed.
        :param late: this process did not run for a while. Answers may lie unread in the socket, so they are read first.
        :returns: seconds until the next call. At most T/6, because the quorum lease may become needed at any time.
        """
        connection = self._connection
        if connection.ending:
            # The transport itself reports it some turns of the event loop later, or with TLS after a timeout.
            connection.abort("the server closed the connection")
            return 0.0
        now = self._clock()
        silent_at = connection.last_received + timeout / 2
        undecided_at = (
            math.inf
            if agreed is None
            else (max(connection.sent_at(self._question), connection.last_hindered) + timeout / 3)
        )
        if now >= min(silent_at, undecided_at) and not late:
            missing = "no answer from the server" if now >= silent_at else "no answer from a quorum"
            since = connection.last_received if now >= silent_at else undecided_at - timeout / 3
            connection.abort(f"{missing} for {now - since:.1f} s")
            return 0.0
        ask_at = math.inf
        if agreed is not None and undecided_at == math.inf:
            ask_at = agreed + timeout / 6
            if now >= ask_at:
                self._question = connection.next_xid()
                connection.post(self._question, codec.ask_quorum())
                ask_at, undecided_at = math.inf, now + timeout / 3
        pinged = connection.awaits(Xid.PING)
        ping_at = math.inf if pinged and not connection.hindered else connection.last_sent + timeout / 4
        if now >= ping_at:
            if pinged:  # all pings have the same number, so only one can be under way
                connection.post(connection.next_xid(), watches.no_watches())
            else:
                connection.post(Xid.PING, codec.ping())
            ping_at = math.inf
        look_at = min(silent_at, undecided_at, ask_at, ping_at, now + timeout / 6)
        return max(_UNREAD if late else _SOON, look_at - now)
