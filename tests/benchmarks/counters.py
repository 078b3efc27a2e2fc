"""What a server says that it was asked and has answered."""

import time
from dataclasses import astuple, dataclass
from typing import Self

from tests.support import ZooKeeperServer

OF_A_QUESTION = (1, 4, 2)
"""Requests, their bytes, and packets sent that the server counts for being asked for its counters."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Sums since the server began, from ``mntr``; a difference of two of them is what came between.

    ``requests``: packets received, pings and handshakes among them. ``answers``: packets sent, watch events among them.
    ``asked`` and ``answered``: bytes of requests, and of answers to requests.
    """

    requests: float
    asked: float
    answers: float
    answered: float
    at: float

    @classmethod
    async def of(cls, server: ZooKeeperServer) -> Self:
        """The counters now."""
        figures = await server.mntr()
        return cls(
            int(figures["zk_packets_received"]),
            int(figures["zk_bytes_received_count"]),
            int(figures["zk_packets_sent"]),
            int(figures["zk_response_bytes"]),
            time.monotonic(),
        )

    def since(self, before: Self) -> Self:
        """What came between, less the question itself; ``at`` becomes the seconds in between."""
        requests, asked, answers, answered, seconds = (
            now - then for now, then in zip(astuple(self), astuple(before), strict=True)
        )
        own_requests, own_bytes, own_answers = OF_A_QUESTION
        return type(self)(requests - own_requests, asked - own_bytes, answers - own_answers, answered, seconds)
