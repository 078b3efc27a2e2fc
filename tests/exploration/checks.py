"""What must hold: after each turn of the event loop, and when all faults have ended and time has passed."""

from collections.abc import Iterator
from typing import Final

from aiopartition import View
from tests.exploration.crew import GROUP, Claim, Crew, Participation
from tests.exploration.internals import ROUNDING, belongs_to, is_drained, usable_view
from tests.exploration.work import kind_of

TURNS_TO_CANCEL: Final = 6
"""Turns from the one in which a loss can be known to the one in which the worker sees its cancellation: a timer, the
task of the lease, the one that watches for changes, the one that cancels, the worker, and one to spare."""

CANCELLED_A_TURN: Final = 64
"""More workers than these are cancelled in several turns, so that the loop stays free."""


class EachTurn:
    """The checks after each turn."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._members_at: dict[int, tuple[str, ...]] = {}

    def __call__(self) -> None:
        for process in self._crew.processes:
            for participation in process.participations:
                if participation.ending != "killed":
                    self._look(participation)

    def _look(self, participation: Participation) -> None:
        view = None
        if participation is participation.process.participations[-1]:  # an earlier one has left, and owns nothing
            view = usable_view(participation.process.coordinator, GROUP, late=ROUNDING)
        if view is not participation.seen:
            participation.seen, participation.claimed_then = view, len(participation.claims)
            if view is not None:
                self._require_agreement(participation, view)
            for claim in participation.claims:
                self._note_ownership(claim, view)
        elif view is None or self._crew.loop.turn % 8 == 0:
            for claim in participation.claims:  # those that have begun since the last look
                if claim.unowned_since is None:
                    self._note_ownership(claim, view)
        self._require_cancellation(participation)

    def _require_agreement(self, participation: Participation, view: View) -> None:
        """P1: the members at one generation are the same for all."""
        members = tuple(member.id for member in view.members)
        if self._members_at.setdefault(view.generation, members) != members:
            known = self._members_at[view.generation]
            self._crew.break_promise(f"P1: {participation} sees {members} at {view.generation}, others see {known}")

    def _note_ownership(self, claim: Claim, view: View | None) -> None:
        if belongs_to(view, claim.key):
            claim.unowned_since = None
        else:
            claim.excused = True
            claim.unowned_since = self._crew.loop.turn

    def _require_cancellation(self, participation: Participation) -> None:
        """P8: a worker whose resource is lost is cancelled as soon as that can be known."""
        turn, claims = self._crew.loop.turn, participation.claims
        limit = TURNS_TO_CANCEL + max(len(claims), participation.claimed_then) // CANCELLED_A_TURN
        late = [
            claim
            for claim in claims
            if claim.kind == "worker" and claim.unowned_since is not None and not claim.told
            and turn - claim.unowned_since > limit
        ]  # fmt: skip
        if late:
            self._crew.break_promise(
                f"P8: {late[0]} and {len(late) - 1} others go on {turn - (late[0].unowned_since or 0)} turns after "
                f"they could have been known to be lost; the view is {participation.seen}"
            )


def what_is_unsettled(crew: Crew) -> str:
    """The first thing that keeps a crew without faults from being settled; empty if nothing does."""
    return next(_unsettled(crew), "")


def _unsettled(crew: Crew) -> Iterator[str]:
    if crew.unfinished:
        yield f"P9: {crew.unfinished} starts, leaves or stops have not ended"
    for process in crew.processes:
        if "has failed" in repr(process.coordinator):
            yield f"P9: the coordinator of {process} has failed"
        yield from _remains(process.participations)
    yield from _divided(crew)
    yield from _not_at_work(crew)


def _remains(participations: list[Participation]) -> Iterator[str]:
    """P6: nothing goes on after a leave, a stop or a supersession."""
    for each in participations:
        if each.ending is not None and each.claims:
            yield f"P6: {each} has {each.ending}, and works on {len(each.claims)} keys"
        if each.ending is not None and each.task is not None and not each.task.done():
            yield f"P6: {each} has {each.ending}, and run(), hold() or my_subset() goes on"
        if each.ending is None and each.run_returned:
            yield f"P8: run() of {each} has returned"


def _divided(crew: Crew) -> Iterator[str]:
    """P5: all are at one generation, with all of them as members, and say that all is well."""
    present = crew.present
    ids = tuple(sorted({each.process.coordinator.member_id for each in present}))
    if len(ids) < len(present):
        yield "P6: two processes go on under one id"
    statuses = {each: each.process.coordinator.status(GROUP) for each in present}
    if _all_drained(crew):
        for each, status in statuses.items():
            if (status.state, status.reason) != ("unknown", "no member has a weight above 0"):
                yield f"P3: no member has a weight, and {each} is {status.state!r}: {status.reason}"
        return
    for each, status in statuses.items():
        if status.state != "steady":
            yield f"P5: {each} is {status.state!r}: {status.reason}; lease left {status.lease_left:.2f} s"
        members = tuple(member.id for member in status.members)
        if members != ids:
            yield f"P5: {each} sees {members} instead of {ids}"
    generations = {status.generation for status in statuses.values()}
    if len(generations) > 1:
        yield f"P5: the members are at generations {generations}"


def _all_drained(crew: Crew) -> bool:
    """Whether members are present, and nobody may own anything."""
    present = crew.present
    return bool(present) and all(is_drained(each.process.coordinator, GROUP) for each in present)


def _not_at_work(crew: Crew) -> Iterator[str]:
    """P2, P8: each resource has exactly one live worker, at its owner, and what is not listed has none."""
    present = set(crew.present)
    if not present:
        return
    if _all_drained(crew):
        at_work = [claim for claims in crew.at_work.values() for claim in claims]
        if at_work:
            yield f"P3: no member has a weight, and there is {at_work[0]}"
        return
    views = {each: usable_view(each.process.coordinator, GROUP) for each in present}
    for key in crew.all_keys:
        owners = [each for each, view in views.items() if belongs_to(view, key)]
        if len(owners) != 1:
            yield f"P2: {key} has {len(owners)} owners"
            continue
        workers = [claim for claim in crew.at_work.get(key, []) if claim.kind == "worker"]
        live = [claim for claim in workers if not claim.told]
        if any(claim.participation not in owners for claim in workers):
            yield f"P8: {key} belongs to {owners[0]}, and there is {workers[0]}"
        if key not in crew.listing:
            if workers:
                yield f"P8: {key} is not listed, and there is {workers[0]}"
        elif kind_of(key) == "returns":
            if key not in crew.ever_at_work:
                yield f"P8: {key} was never worked on"
        elif (len(live), len(workers)) != (1, 1):
            yield f"P8: {key} has {len(live)} live workers of {len(workers)} at {owners[0]}"
