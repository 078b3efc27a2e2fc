"""Who was a member at each generation, and until when: the truth that what members say is compared with."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote, unquote

from aiopartition import GroupPolicy
from aiopartition.placement.assign import build
from aiopartition.placement.keys import encode
from aiopartition.placement.table import Table
from tests.chaos.transactions import Change, Transaction

ENTRY = re.compile(r"([A-Za-z0-9_.~%-]+);(0|[1-9][0-9]{0,2}|1000);(0|[1-9][0-9]{0,17});([0-9a-f]{16})")


def is_entry(name: str) -> bool:
    """Whether a node of this name is a member's entry, not a foreign one."""
    match = ENTRY.fullmatch(name)
    return match is not None and quote(unquote(match[1], errors="replace"), safe="") == match[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a group, and who made it."""

    member_id: str
    weight: int
    seniority: tuple[int, str]
    session: int
    process: str
    """Which process wrote it: the operators' document in the entry says so."""

    @classmethod
    def of(cls, name: str, session: int, data: bytes) -> Entry | None:
        """The entry that stands in a node's name; ``None`` for a foreign node."""
        if not is_entry(name):
            return None
        member_id, weight, incarnation, nonce = name.split(";")
        process = json.loads(data)["metadata"]["process"]
        return cls(unquote(member_id), int(weight), (int(incarnation), nonce), session, process)


@dataclass(frozen=True)
class Generation:
    """The entries of a group from one transaction to the next."""

    number: int
    since: float
    """On the leader's wall clock."""
    entries: Mapping[str, Entry]
    """By the names of their nodes; without foreign ones."""
    exists: bool
    """Whether the node was there at all, which holds the entries."""

    @cached_property
    def live(self) -> dict[str, Entry]:
        """The live entry of each member, by member id."""
        return {entry.member_id: entry for entry in sorted(self.entries.values(), key=lambda entry: entry.seniority)}

    @cached_property
    def weights(self) -> tuple[tuple[str, int], ...]:
        """What placement depends on."""
        return tuple(sorted((member_id, entry.weight) for member_id, entry in self.live.items()))


@dataclass
class Ledger:
    """All generations of one group, in order."""

    policy: GroupPolicy
    generations: list[Generation] = field(default_factory=list[Generation])
    ends: dict[int, float] = field(default_factory=dict[int, float])
    """When each session was ended, by the ensemble or by its client, on the leader's wall clock."""
    epochs: Mapping[int, int] = field(default_factory=dict[int, int])
    """For each epoch of the ensemble, by its first number, the last transaction that its leader knew of."""
    forgotten: int = 0
    """How many transactions that were logged the ensemble has forgotten so far."""
    _index: dict[int, int] = field(default_factory=dict[int, int])
    _tables: dict[tuple[tuple[str, int], ...], Table] = field(default_factory=dict[tuple[tuple[str, int], ...], Table])

    @classmethod
    def of(cls, transactions: Iterable[Transaction], members: str, policy: GroupPolicy) -> Ledger:
        """What the transactions made of the entries below the node ``members``."""
        ledger = cls(policy)
        nodes: dict[str, Entry | None] = {}  # None: a foreign node
        sessions: dict[str, int] = {}  # of the ephemeral nodes
        exists = False
        prefix = f"{members}/"

        def apply(transaction: Transaction, change: Change) -> bool:
            nonlocal exists
            if change.path == members:
                exists = change.created
                nodes.clear()
                return True
            name = change.path.removeprefix(prefix)
            if name == change.path or "/" in name:
                return False
            if change.created:
                session = transaction.session if change.ephemeral else 0
                nodes[name], sessions[name] = Entry.of(name, session, change.data), session
            else:
                # Perhaps one that nobody made: a server showed it, of what was forgotten, and came to lead the others.
                nodes.pop(name, None)
                sessions.pop(name, None)
            return True

        for transaction in transactions:
            changes = list(transaction.changes)
            if transaction.ends_session:
                ledger.ends[transaction.session] = transaction.time
                mine = [name for name in nodes if sessions[name] == transaction.session]
                changes += [Change(prefix + name, False) for name in mine]
            concerned = [apply(transaction, change) for change in changes]
            if any(concerned):
                entries = {name: entry for name, entry in nodes.items() if entry is not None}
                ledger._add(Generation(transaction.zxid, transaction.time, entries, exists))
        return ledger

    def _add(self, generation: Generation) -> None:
        self._index[generation.number] = len(self.generations)
        self.generations.append(generation)

    @property
    def newest(self) -> Generation:
        return self.generations[-1]

    def get(self, number: int) -> Generation | None:
        """The generation of that number, if there ever was one."""
        index = self._index.get(number)
        return None if index is None or not self.generations[index].exists else self.generations[index]

    def superseded(self, number: int) -> float | None:
        """When a generation was followed by the next; ``None``: it is the newest."""
        index = self._index[number] + 1
        return self.generations[index].since if index < len(self.generations) else None

    def at(self, moment: float) -> Generation | None:
        """The generation at a moment of the leader's wall clock."""
        index = bisect_right(self.generations, moment, key=lambda generation: generation.since)
        return self.generations[index - 1] if index else None

    def sessions_of(self, process: str, until: float) -> set[int]:
        """The sessions whose entries a process has ever made before a moment."""
        return {
            entry.session
            for generation in self.generations
            if generation.since <= until
            for entry in generation.entries.values()
            if entry.process == process
        }

    def table(self, generation: Generation) -> Table | None:
        """Who owns what, calculated here and now from the members alone. ``None`` if nobody can own anything."""
        if not any(weight for _, weight in generation.weights):
            return None
        if generation.weights not in self._tables:
            self._tables[generation.weights] = build(dict(generation.weights), self.policy)
        return self._tables[generation.weights]

    def share(self, generation: Generation, member_id: str, keys: Iterable[str]) -> int:
        """The keys that a member owns: one bit for each, the first key the lowest."""
        table = self.table(generation)
        if table is None:
            return 0
        return sum(1 << bit for bit, key in enumerate(keys) if member_id in table.owners(encode(key)))
