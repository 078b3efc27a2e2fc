"""A number for the state of a crew, so that what was explored from one state is not explored from the same again.

Two states with one fingerprint may still differ in what only local variables know: exploring pairs of faults passes
over a few that it should not. Single faults are explored without it.
"""

import asyncio
from asyncio import events
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, cast

from aiopartition import View
from tests.exploration.crew import GROUP, Crew
from tests.exploration.internals import Candidacy, Group, Handoff, Leftovers, Work, cluster_of, state_machines


def fingerprint(crew: Crew) -> int:
    """Where each task stands, what is due when, what each member knows, and who is at work on what."""
    return hash((
        _tasks(crew.loop), _schedule(crew.loop), crew.listing, tuple(_claims(crew)), _cluster(crew),
        tuple(_frozen(part) for each in crew.processes for part in state_machines(each.coordinator, GROUP)),
    ))  # fmt: skip


def _claims(crew: Crew) -> Iterator[object]:
    for process in crew.processes:
        yield process.dead
        for each in process.participations:
            yield each.ending, tuple((claim.key, claim.kind, claim.told) for claim in each.claims)


def _cluster(crew: Crew) -> object:
    cluster: Any = cluster_of(crew.cluster)
    now = crew.loop.time()
    sessions = {session: number for number, session in enumerate(cluster._sessions)}
    ages = tuple(round(now - session.touched, 6) for session in sessions)
    group = cluster._groups.get(GROUP)
    if group is None:
        return ages
    entries = tuple((name, sessions.get(session)) for name, session in group.entries.items())
    watchers = tuple(sessions.get(session) for session in (*group.watchers, None, *group.progress_watchers))
    return ages, entries, watchers, group.progress, tuple(group.marks)


def _tasks(loop: asyncio.AbstractEventLoop) -> object:
    return frozenset((task.get_name(), tuple(_stack(task.get_coro()))) for task in asyncio.all_tasks(loop))


def _stack(awaitable: Any) -> Iterator[object]:
    """Where a coroutine waits, and where that which it waits for does."""
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is None:
            yield type(awaitable).__name__
            return
        yield frame.f_code.co_qualname, frame.f_lasti
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)


def _schedule(loop: asyncio.AbstractEventLoop) -> object:
    internals, now = cast("Any", loop), loop.time()
    timers = sorted(
        (round(each.when() - now, 6), _callback(each)) for each in internals._scheduled if not each.cancelled()
    )
    return tuple(timers), tuple(_callback(each) for each in internals._ready if not each.cancelled())


def _callback(handle: events.Handle) -> str:
    callback: Any = handle._callback  # type: ignore[attr-defined]
    return getattr(callback, "__qualname__", type(callback).__name__)


def _frozen(value: object) -> object:
    if isinstance(value, View):
        return value.generation, value.mask
    if isinstance(value, Work):
        return value.what, value.slots
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return frozenset((_frozen(key), _frozen(each)) for key, each in value.items())
    if isinstance(value, AbstractSet):
        return frozenset(map(_frozen, value))
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Candidacy | Group | Handoff | Leftovers):
        return _frozen(vars(value))
    return value if value is None or isinstance(value, bool | int | str | bytes) else repr(type(value))
