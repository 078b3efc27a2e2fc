"""What one server has in its own copy of the tree. Where an ensemble has forgotten something, copies may differ."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

Node: TypeAlias = tuple[str, int, int, int, int]
"""Path, who owns it (a session, or 0), and which transactions made it, wrote it, and changed its children last."""

PATIENCE = 5.0


def copy_of(address: str, roots: Iterable[str], patience: float = PATIENCE) -> set[Node] | None:
    """All nodes from these paths downwards, as the server at ``address`` shows them.

    :param patience: seconds to wait for its connection.
    :return: ``None`` if it does not answer.
    """
    client: Any = KazooClient(address)
    try:
        client.start(timeout=patience)
        return {node for root in roots for node in nodes(client, root)}
    except (KazooException, KazooTimeoutError):
        return None
    finally:
        client.stop()
        client.close()


def nodes(client: Any, path: str) -> Iterator[Node]:
    try:
        names, stat = client.get_children(path, include_data=True)
    except NoNodeError:
        return
    yield path, stat.ephemeralOwner, stat.czxid, stat.mzxid, stat.pzxid
    for name in names:
        yield from nodes(client, f"{path}/{name}")
