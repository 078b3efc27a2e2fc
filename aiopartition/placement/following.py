"""A table that follows its members: after a change, only the slots that it may affect are assigned again.

The first rank of format 1 is a serial dictatorship: slots take their turns in a fixed order, and each takes the first
member on its walk that still has room. So the owner of a slot depends on earlier turns alone. After a change, the turns
that it may affect are taken again in order, and each of them can affect later turns only. When none is left, the table
equals that of a fresh build, bit for bit: no history remains in it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Generator, Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import Final

from aiopartition.placement.assign import caps_of, relative_weights, visiting_order
from aiopartition.placement.keys import HASH_BITS, slot_shift
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.ring import POINTS_PER_STEP, numbered_points, points_of
from aiopartition.placement.table import Mask, Table

__all__ = ["Following"]

TURNS_PER_STEP: Final = 256
"""Slots assigned between two yields."""

_NUMBER_BITS: Final = 21  # of a member's number, which stands below the point in an entry of the ring
_NUMBER: Final = (1 << _NUMBER_BITS) - 1
_NOBODY: Final = -1


class Following:
    """The state of one table with one rank and no partitions, which is updated when the members change.

    :param policy: a policy with ``replicas=1`` and no partitions.
    :ivar members: the members of the table, with their weights; empty before the first table.
    :ivar exact: whether the table equals that of a fresh build. It may not if two points of the ring coincide, because
        their order depends on more than is kept here. With 1,000 members the chance of that is one in a billion.
    """

    def __init__(self, policy: GroupPolicy) -> None:
        self.members: Mapping[str, int] = {}
        self.exact: bool = True
        self._policy = policy
        self._shift = slot_shift(policy.slots)
        self._turns = visiting_order(policy.slots)  # the turn of each slot, and the slot of each turn: its own inverse
        self._ring: list[list[int]] = [
            [] for _ in range(policy.slots)
        ]  # by slots: the points there, each with its owner
        self._points: dict[str, int] = {}  # how many each member has
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []  # numbers of members that have left
        self._ids: list[str] = []  # by the member's number, like the next three
        self._caps: list[int] = []
        self._held: list[list[int]] = []  # the turns of the member's slots, sorted
        self._passed: list[set[int]] = []  # the turns of slots that found the member full on their walks
        self._owners = [_NOBODY] * policy.slots
        self._names = [""] * policy.slots
        self._ends = [0] * policy.slots  # where a slot's walk ended; beyond the last point it goes on counting
        self._longest = 0  # no walk has gone further than that many slots
        self._skips: dict[int, list[int]] = {}  # the full members that a slot has passed on its walk
        self._masks: dict[str, Mask] = {}  # the masks of the table
        self._moved: dict[int, str] = {}  # slots whose owner is not the one in the last table, with that one

    def steps(self, members: Mapping[str, int]) -> Generator[None, None, Table]:
        """Update the table for other members, yielding after each portion of work. If it is abandoned in the middle,
        this object is of no further use.

        :param members: the weight of each member by member id, at least one of them above 0.
        :returns: the table, as the generator's return value.
        """
        weights = relative_weights(members)
        counts = points_of(weights, self._policy.vnodes)
        due: set[int] = set()
        yield
        for member_id in [each for each in self._points if each not in counts]:
            yield from self._move_points(member_id, self._points[member_id], 0)
            due.update(self._dismiss(member_id))
        for member_id in [each for each, count in counts.items() if count != self._points.get(each)]:
            if member_id not in self._numbers:
                self._admit(member_id)
            yield from self._move_points(member_id, self._points.get(member_id, 0), counts[member_id], due)
        self._points = counts
        yield
        for member_id, cap in caps_of(weights, self._policy.load_bound, self._policy.slots).items():
            number = self._numbers[member_id]
            if cap > self._caps[number]:
                due |= self._passed[number]
            else:
                due.update(self._held[number][cap:])
            self._caps[number] = cap
        yield
        if self.members:
            yield from self._take_turns(due)
            yield from self._patch_masks()
        else:
            yield from self._take_all_turns()
        self.members = members
        return Table(tuple(sorted(members)), (tuple(self._names),), masks=self._masks)

    # ---- the ring

    def _admit(self, member_id: str) -> None:
        if self._free:
            number = self._free.pop()
            self._ids[number] = member_id
        else:
            number = len(self._ids)
            self._ids.append(member_id)
            self._caps.append(0)
            self._held.append([])
            self._passed.append(set())
        self._numbers[member_id] = number

    def _dismiss(self, member_id: str) -> Iterable[int]:
        """Forget a member. Return the turns of the slots that it held."""
        number = self._numbers.pop(member_id)
        held, self._held[number] = self._held[number], []
        for turn in held:
            self._owners[self._turns[turn]] = _NOBODY
        for turn in self._passed[number]:
            self._skips[self._turns[turn]].remove(number)
        self._passed[number].clear()
        self._caps[number] = 0
        self._free.append(number)
        return held

    def _move_points(
        self, member_id: str, before: int, after: int, due: set[int] | None = None
    ) -> Generator[None, None, None]:
        """Add or remove the last points of a member, and note the turns of the slots that this may affect."""
        number, move = self._numbers[member_id], self._add if after > before else self._remove
        for count, point in enumerate(numbered_points(member_id, min(before, after), max(before, after)), start=1):
            move(point, number)
            if self.members and due is not None:  # in the first table all slots are assigned anyway
                self._concern(point, due)
            if count % POINTS_PER_STEP == 0:
                yield
        yield

    def _add(self, point: int, number: int) -> None:
        bucket = self._ring[point >> self._shift]
        entry = point << _NUMBER_BITS | number
        place = bisect_left(bucket, point << _NUMBER_BITS)
        if place < len(bucket) and bucket[place] >> _NUMBER_BITS == point:
            self.exact = False
        bucket.insert(place, entry)

    def _remove(self, point: int, number: int) -> None:
        bucket = self._ring[point >> self._shift]
        bucket.pop(bisect_left(bucket, point << _NUMBER_BITS | number))

    def _concern(self, point: int, due: set[int]) -> None:
        """Note the turns of the slots whose walks reach a point."""
        ends, turns, slots = self._ends, self._turns, len(self._ends)
        home = point >> self._shift
        for slot in range(home, home - self._longest - 1, -1):
            if slot < 0:  # a walk that has passed the last point
                slot, reached = slot + slots, point + (1 << HASH_BITS)
            else:
                reached = point
            if ends[slot] >= reached:
                due.add(turns[slot])

    # ---- turns

    def _take_all_turns(self) -> Generator[None, None, None]:
        """Assign all slots, none of which has an owner yet."""
        for turn, slot in enumerate(self._turns):
            owner = self._walk(turn, slot)
            self._held[owner].append(turn)
            self._owners[slot], self._names[slot] = owner, self._ids[owner]
            if turn % TURNS_PER_STEP == 0:
                yield

    def _take_turns(self, due: set[int]) -> Generator[None, None, None]:
        """Assign the slots of these turns, and of all turns that this affects, in order."""
        heap = list(due)
        heapify(heap)
        last, count = _NOBODY, 0
        while heap:
            turn = heappop(heap)
            if turn != last:  # otherwise it was due for two reasons
                last = turn
                for concerned in self._take_turn(turn):
                    heappush(heap, concerned)
                count += 1
                if count % TURNS_PER_STEP == 0:
                    yield

    def _take_turn(self, turn: int) -> list[int]:
        """Assign one slot. Return the later turns that this affects."""
        slot = self._turns[turn]
        before, owner = self._owners[slot], self._walk(turn, slot)
        if owner == before:
            return []
        concerned: list[int] = []
        if before != _NOBODY:
            held = self._held[before]
            held.pop(bisect_left(held, turn))
            concerned = [each for each in self._passed[before] if each > turn]
        held = self._held[owner]
        insort(held, turn)
        concerned += held[self._caps[owner] :]
        self._moved.setdefault(slot, self._names[slot])
        self._owners[slot], self._names[slot] = owner, self._ids[owner]
        return concerned

    def _walk(self, turn: int, slot: int) -> int:
        """Return the first member with room at this turn on the walk of its slot."""
        for number in self._skips.pop(slot, ()):
            self._passed[number].discard(turn)
        caps, all_held, slots = self._caps, self._held, len(self._ring)
        skips: list[int] = []
        for place in chain(range(slot, slots), range(slot)):
            for entry in self._ring[place]:
                number = entry & _NUMBER
                held, cap = all_held[number], caps[number]
                if cap and (len(held) < cap or held[cap - 1] >= turn):  # a later turn may lose its slot to this one
                    end = entry >> _NUMBER_BITS
                    distance = place - slot
                    if distance < 0:
                        distance, end = distance + slots, end + (1 << HASH_BITS)
                    self._ends[slot] = end
                    self._longest = max(self._longest, distance)
                    if skips:
                        self._skips[slot] = skips
                    return number
                if number not in skips:
                    skips.append(number)
                    self._passed[number].add(turn)
        raise AssertionError("the members have room for more than all slots")

    # ---- masks

    def _patch_masks(self) -> Generator[None, None, None]:
        """Make the next table's masks from the last one's. A member that the change does not affect keeps its mask."""
        slots_of: dict[str, list[int]] = {}
        for slot, before in self._moved.items():
            for member_id in (before, self._names[slot]):
                slots_of.setdefault(member_id, []).append(slot)
        self._moved = {}
        self._masks = {each: mask for each, mask in self._masks.items() if each in self._numbers}
        for member_id in self._masks.keys() & slots_of:
            mask = list(self._masks[member_id])
            for slot in slots_of[member_id]:
                mask[slot] = self._names[slot] == member_id
            self._masks[member_id] = tuple(mask)
            yield
