"""Ports for servers that are going to be stopped and started again."""

import fcntl
import functools
import os
import random
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

LOOPBACK = "127.0.0.1"


_given: Final[set[int]] = set()
"""Ports are given out once in a process: a server that was killed comes back to its own."""


def free_port() -> int:
    """A loopback TCP port that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Distinct loopback TCP ports that nobody listens on, and that no other running process was given.

    They lie below the range from which the kernel takes the ports of outgoing connections. From inside that range
    another connection could take a port while its server is down, even a client that connects to the very port:
    on the loopback interface it would then be connected to itself.
    """
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            candidate = held.enter_context(socket.socket())
            port = random.randrange(10_000, _first_ephemeral_port())
            if port in _given or not _claim(port):
                continue
            try:
                candidate.bind((LOOPBACK, port))
            except OSError:
                continue
            ports.append(port)
            _given.add(port)
    return ports


def _claim(port: int) -> bool:
    """Whether no other process has claimed the port. The kernel ends a claim when its process ends."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        return False
    return True


@functools.cache
def _claims() -> int:
    """A file in which each byte stands for a port. It stays open: closing it would end all claims of this process."""
    return os.open(Path(tempfile.gettempdir(), f"aiopartition-ports-{os.getuid()}"), os.O_RDWR | os.O_CREAT, 0o600)


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768
