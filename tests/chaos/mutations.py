"""The library with one promise broken at a time, to see whether the referee finds out.

Each is applied in a member's own process, by name, before it takes part. What they replace must be there: a mutation
of something that has gone would break nothing.
"""

import asyncio
import builtins
import itertools
from collections.abc import Callable
from dataclasses import replace as with_changes
from typing import Any

from aiopartition import coordinator, runner
from aiopartition.backends.zookeeper import backend as zookeeper
from aiopartition.backends.zookeeper import codec, connection, handoffs, listings, session, watches
from aiopartition.group import handoff, in_flight, membership, registry
from aiopartition.group import state as group
from aiopartition.group.entry import Entry
from aiopartition.group.roster import Roster
from aiopartition.placement import builder as table_builder
from aiopartition.placement.view import View
from aiopartition.work import run
from tests.support import mistakes

MUTATIONS: dict[str, Callable[[], None]] = {}


def mutation(apply: Callable[[], None]) -> Callable[[], None]:
    """Gives a mutation its name."""
    MUTATIONS[apply.__name__] = apply
    return apply


def replace(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    """Replace an attribute by what ``wrap`` makes of it."""
    setattr(owner, name, wrap(getattr(owner, name)))  # of what is not there, an AttributeError


# ---- the lease


@mutation
def lease_of_whole_timeout() -> None:
    """The lease ends with the session timeout, not after two thirds of it."""
    lease = session.Lease
    replace(lease, "starting", lambda _: lambda sent, timeout: lease(sent, sent + timeout, sent + timeout))


@mutation
def lease_from_arrival() -> None:
    """The lease counts from when the answer came."""
    replace(
        session.Session,
        "replied",
        lambda replied: (
            lambda self, reply: replied(
                self, reply if reply.proof is None else with_changes(reply, proof=self._clock())
            )
        ),
    )


@mutation
def lease_by_timer() -> None:
    """Whether the lease has ended is looked at by a timer, not when it is used."""

    def timed(lease_left: Any) -> Any:
        async def keep_looking(self: Any) -> None:
            while True:
                self._left = lease_left(self)
                await asyncio.sleep(0.2)

        def cached(self: Any, *, quorum: bool = False) -> float:  # of a group that is not exclusive
            if not hasattr(self, "_left"):
                self._left = lease_left(self)
                self._looker = asyncio.get_running_loop().create_task(keep_looking(self))
            return float(self._left)

        return cached

    replace(zookeeper.ZooKeeperBackend, "lease_left", timed)


@mutation
def lease_from_handshake() -> None:
    """A handshake alone renews the lease."""

    def renewing(attach: Any) -> Any:
        async def renew(self: Any, connection: Any) -> bool:
            fresh: bool = await attach(self, connection)
            self._renew(self._clock(), quorum=True)
            return fresh

        return renew

    replace(session.Session, "_attach", renewing)


@mutation
def any_answer_renews_both_leases() -> None:
    """No quorum is asked, and any answer renews the lease of exclusive groups too."""
    replace(session.Session, "_renew", lambda renew: lambda self, sent, *, quorum: renew(self, sent, quorum=True))
    replace(
        session.Session,
        "_keep_alive",
        lambda _: lambda self, keep_alive, *, late: keep_alive.look(self.timeout, None, late=late),
    )


@mutation
def lease_survives_a_smaller_grant() -> None:
    """A server that grants less does not cut the lease that runs."""
    replace(session.Lease, "cut", lambda _: lambda self, timeout: self)


@mutation
def run_goes_by_what_was_settled() -> None:
    """What run() had started once is not looked at again when the view is gone."""

    def trusting(look: Any) -> Any:
        def look_at_what_is_there(self: Any) -> bool:
            if self._membership.view is None:
                return False
            looked: bool = look(self)
            return looked

        return look_at_what_is_there

    replace(run.Supervisor, "_look", trusting)


@mutation
def work_is_not_waited_for() -> None:
    """A generation is acknowledged while work on what was lost has yet to end."""
    replace(in_flight.InFlight, "begin", lambda _: lambda self, work: None)
    replace(in_flight.InFlight, "end", lambda _: lambda self, work: None)


@mutation
def acknowledged_before_work_has_ended() -> None:
    """A generation is acknowledged at once, and only leaving waits for work."""

    def at_once(next_step: Any) -> Any:
        def clear_the_way(self: Any) -> Any:
            self.in_the_way.clear()
            return next_step(self)

        return clear_the_way

    replace(handoff.Handoff, "next_step", at_once)


@mutation
def leaves_before_work_has_ended() -> None:
    """The entry goes while work is still in flight."""
    for keeper in (group.Group, in_flight.InFlight):
        replace(keeper, "idle", lambda _: property(lambda self: True))


@mutation
def lapse_not_confirmed() -> None:
    """A view goes on after the lease had lapsed, without a question whether it still holds."""
    replace(group.Group, "lease_renewed", lambda _: lambda self: None)


@mutation
def stream_looks_once() -> None:
    """A stream goes by the view that it began with."""

    async def go_on(self: Any, group_id: str, source: Any, *, key: Any) -> Any:
        view = await self.view(group_id)
        async for item in source:
            if view.mine([item], key):
                yield item

    replace(coordinator.PartitionCoordinator, "my_subset", lambda _: go_on)


# ---- sessions


@mutation
def view_kept_after_expiry() -> None:
    """When the session is over the view stays until there is another."""

    def keeping(forget: Any) -> Any:
        def forget_but_view(self: Any) -> None:
            view, trusted, wanted = self._view, self._trusted, self.wanted
            forget(self)
            self._view, self._trusted, self.wanted = view, trusted, wanted

        return forget_but_view

    replace(group.Group, "_forget_entry", keeping)


@mutation
def stop_lets_go_late() -> None:
    """stop() ends the session, and what is under way goes on."""
    replace(membership.Membership, "abandon", lambda _: lambda self: None)


@mutation
def zombie_goes_on() -> None:
    """A member whose place was taken does not look for its successor."""

    def blind(parse: Any) -> Any:
        def own_alone(self: Any, entries: Any) -> Roster:
            seen: Roster = parse(self, entries)
            others = [each for each in seen.of_member(self.member.id) if each.nonce != self.nonce]
            self.roster = Roster().after(seen.names - {each.name for each in others})
            return self.roster  # type: ignore[no-any-return]

        return own_alone

    replace(group.Group, "_parse", blind)


# ---- news


@mutation
def watch_after_read() -> None:
    """The watch is armed after the read, so that what changes in between is not heard of."""

    def late(read: Any) -> Any:
        async def read_then_watch(self: Any, members: str) -> Any:
            self.forget(members)
            entries = await self._nodes.read_children(members, listings.entries_of)
            await read(self, members)
            return entries

        return read_then_watch

    replace(listings.Listings, "read", late)


@mutation
def events_are_applied_without_the_check() -> None:
    """What the events told is taken for the list, whether they are as many as the server has counted or not."""
    mistakes.events_are_applied_without_the_check(builtins)


@mutation
def the_generation_is_taken_before_the_events() -> None:
    """A list of members goes by the generation of the one before it."""
    mistakes.the_generation_is_taken_before_the_events(builtins)


@mutation
def watches_not_armed_again() -> None:
    """After a reconnection no watch is armed again."""
    replace(watches, "arm_again", lambda _: lambda paths, zxid: iter([codec.exists("/")]))


@mutation
def watches_with_the_future() -> None:
    """Watches are armed again as if everything had been seen, and nothing is asked after a reconnection."""
    replace(watches, "arm_again", lambda made: lambda paths, zxid: made(paths, (1 << 62)))

    def unasking(opened: Any) -> Any:
        def open_quietly(self: Any, *, fresh: bool) -> None:
            due = self._due
            opened(self, fresh=fresh)
            if not fresh:
                self._due = due

        return open_quietly

    replace(group.Group, "session_opened", unasking)


@mutation
def heartbeat_compares_nothing() -> None:
    """A heartbeat asks, and does not look at the answer."""
    replace(membership.Membership, "heartbeat", lambda _: lambda self: self._backend.generation(self.group_id))


@mutation
def own_generation() -> None:
    """Generations are counted by each member for itself."""

    def counting(of: Any) -> Any:
        numbers = itertools.count(1)
        return staticmethod(lambda *facts: with_changes(of(*facts), generation=next(numbers)))

    replace(View, "of", counting)


# ---- placement


@mutation
def placement_with_history() -> None:
    """Who had a slot keeps it: placement depends on the order of joining."""
    kept: dict[int, str] = {}

    def sticky(build_steps: Any) -> Any:
        def steps(members: Any, policy: Any) -> Any:
            table = yield from build_steps(members, policy)
            rank = [kept[slot] if kept.get(slot) in members else each for slot, each in enumerate(table.ranks[0])]
            kept.update(enumerate(rank))
            return type(table)(table.members, (tuple(rank), *table.ranks[1:]))

        return steps

    replace(table_builder, "build_steps", sticky)


@mutation
def stale_table() -> None:
    """A new generation is published with the table of the members before."""

    def early(read: Any) -> Any:
        def read_and_publish(self: Any, entries: Any) -> None:
            read(self, entries)
            if self._table is not None and self._generation is not None and not self._short:
                self._publish(self._table)

        return read_and_publish

    replace(group.Group, "read", early)


@mutation
def weights_ignored() -> None:
    """Everybody counts the same."""
    replace(
        table_builder, "build_steps", lambda build: lambda members, policy: build(dict.fromkeys(members, 1), policy)
    )


# ---- what stays behind


@mutation
def entry_made_twice() -> None:
    """An attempt to make the entry whose answer was lost is forgotten, and another made."""

    def forgetful(choose: Any) -> Any:
        def choose_anew(self: Any, entries: Any) -> Entry:
            candidacy = self.candidacy
            if candidacy.attempted is not None:
                candidacy.nonce = f"{(int(candidacy.nonce, 16) + 1) % (1 << 64):016x}"
                candidacy.attempted = None
            entry: Entry = choose(self, entries)
            self.leftovers.to_delete.clear()
            return entry

        return choose_anew

    replace(group.Group, "choose_entry", forgetful)


@mutation
def leaves_its_entry() -> None:
    """Leaving the group leaves the entry behind."""

    def careless(leave: Any) -> Any:
        def leave_all(self: Any) -> None:
            leave(self)
            self.leftovers.to_delete.clear()

        return leave_all

    replace(group.Group, "leave", careless)


@mutation
def connection_leak() -> None:
    """A connection that is given up stays open."""

    def forget(self: Any, reason: str) -> None:
        if self._transport is not None:
            self.reason = reason
            self._end()

    def deaf(receive: Any) -> Any:
        return lambda self, data: None if self._transport is None else receive(self, data)

    replace(connection.Connection, "abort", lambda _: forget)
    replace(connection.Connection, "data_received", deaf)


@mutation
def task_leak() -> None:
    """Each connection leaves a task behind."""

    def leaking(opened: Any) -> Any:
        kept: list[object] = []

        def open_and_leak(self: Any, *, fresh: bool) -> None:
            kept.append(asyncio.get_running_loop().create_task(asyncio.Event().wait()))
            opened(self, fresh=fresh)

        return open_and_leak

    replace(registry.Registry, "session_opened", leaking)


@mutation
def memory_leak() -> None:
    """Each reading of the members is kept for ever."""

    def hoarding(read: Any) -> Any:
        kept: list[object] = []

        def read_and_keep(self: Any, entries: Any) -> None:
            kept.extend([str(number), number] for number in range(1000, 2000))
            read(self, entries)

        return read_and_keep

    replace(group.Group, "read", hoarding)


# ---- harm to others


@mutation
def let_go_before_all_are_ready() -> None:
    """A member lets go of what it loses as soon as it sees a generation, though an entry may be that of a dead one."""
    replace(handoff.Handoff, "_all_ready", lambda _: property(lambda self: self.generation is not None))


@mutation
def acknowledgements_of_anybody() -> None:
    """An acknowledgement counts whoever has made it."""

    async def trust(self: Any, group: str, generation: int, names: Any) -> frozenset[str]:
        return frozenset()

    replace(handoffs.Handoffs, "remove_foreign_marks", lambda _: trust)


@mutation
def junk_is_read_as_a_number() -> None:
    """A generation is whatever str.isdigit() calls one."""
    replace(handoffs, "parse_number", lambda _: lambda text: int(text) if text.isdigit() else None)


@mutation
def forked_child_says_farewell() -> None:
    """What a forked child inherited acts in it."""
    for module in (runner, session, connection):
        replace(module, "tell_child", lambda _: lambda party: None)


@mutation
def failing_listing_ends_run() -> None:
    """What goes wrong in resources() ends run()."""
    replace(run, "Listing", lambda listing: lambda *args, strict, **options: listing(*args, strict=True, **options))
