"""The entries of watched groups: the nodes below their ``members`` nodes, kept up to date by events."""

from __future__ import annotations

from collections.abc import Callable

from aiopartition.backends.base import Entries
from aiopartition.backends.listing import WHOLE, Event, Listing, Tally
from aiopartition.backends.zookeeper import codec, watches
from aiopartition.backends.zookeeper.codec import Children, ErrorCode, ReplyError, Stat, Watch
from aiopartition.backends.zookeeper.nodes import Nodes
from aiopartition.backends.zookeeper.session import Session
from aiopartition.backends.zookeeper.watches import EventKind, WatchEvent
from aiopartition.errors import BackendError

__all__ = ["Listings", "entries_of"]


def entries_of(children: Children) -> Entries:
    """Return the nodes below a ``members`` node as entries."""
    return Entries(children.stat.children_zxid, frozenset(children.names))


class Listings:
    """The lists of those ``members`` nodes that are watched, by their paths. Errors are those of :class:`Nodes`.

    :param changed: called with the path for the first change after each reading.
    """

    def __init__(self, session: Session, nodes: Nodes, changed: Callable[[str], None]) -> None:
        self._session = session
        self._nodes = nodes
        self._changed = changed
        self._listings: dict[str, Listing] = {}

    async def read(self, members: str) -> Entries | None:
        """Return the entries, or ``None`` if there is no such node. Watch the node from now on."""
        listing = self._listings.setdefault(members, Listing())
        watch = Watch(members, recursive=True)
        if not self._session.is_armed(watch):
            listing.forget()
            await self._arm(members)
        listing.look()
        # An answer is noted before any later frame is read, because it does not include the events in those frames.
        if listing.known:
            stat = codec.exists(members)
            entries = await self._nodes.find(stat.then(lambda stat: listing.counted(*self._told(stat))), members)
            if entries is not None:
                return entries
        return await self._nodes.read_children(
            members, lambda children: listing.listed(entries_of(children), *self._told(children.stat))
        )

    async def generation(self, members: str) -> int | None:
        """Return the generation, or ``None`` if there is no such node. The node need not be watched."""

        def take(stat: Stat) -> int:
            if (listing := self._listings.get(members)) is not None:
                listing.confirm(*self._told(stat))
            return stat.children_zxid

        return await self._nodes.find(codec.exists(members).then(take), members)

    def event(self, event: WatchEvent) -> None:
        """An event has arrived. It may belong to another watch."""
        created = event.kind == EventKind.CREATED
        if not created and event.kind != EventKind.DELETED:
            return
        members, _, name = event.path.rpartition("/")
        if (listing := self._listings.get(members)) is not None:
            first = listing.event(Event(name, created, event.zxid))
        elif (listing := self._listings.get(event.path)) is not None:
            members, first = event.path, listing.event(WHOLE)
        else:  # the node is no longer watched, but the answer that armed the watch came too late to remove it then
            self._session.forget_watch(Watch(members, recursive=True))
            return
        if first:
            self._changed(members)

    def forget(self, members: str) -> None:
        """Stop watching a node."""
        self._listings.pop(members, None)
        self._session.forget_watch(Watch(members, recursive=True))

    # ---- inside

    async def _arm(self, members: str) -> None:
        try:
            await self._nodes.request(watches.add(members), members, "READ", ErrorCode.UNIMPLEMENTED)
        except ReplyError as error:
            raise BackendError("the server is older than ZooKeeper 3.6, which this library needs", members) from error

    def _told(self, stat: Stat) -> tuple[Tally, int]:
        """Return what a stat says about the entries, and the number of the connection on which it came."""
        return Tally(stat.children_zxid, stat.children_changes, stat.children), self._session.connections
