"""Several groups' state machines on one small model of a coordination service, interleaved at random.

What the model may do is what ZooKeeper and networks do: lose requests before or after they took effect, lose watches,
end sessions, answer from a server that lags, refuse; operators delete entries and whole groups; processes crash, are
started again with the same id while the old one lives, and leave at any moment. Each actor does what
:meth:`aiopartition.group.membership.Membership.tend` does, one request at a time.
"""

import random
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aiopartition.errors import AuthenticationError, MemberSupersededError
from aiopartition.group.entry import Entry
from aiopartition.group.state import Group
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Member
from tests.unit.group.group_model import IDS, MOST_STEPS_TO_REST, Actor, Service

POLICY: Final = GroupPolicy(slots=16, vnodes=1)
LAGS: Final = (0, 0, 0, 1, 2)
EVENTS: Final = (
    "nothing", "nothing", "news", "news", "lost news", "heartbeat", "disconnection", "connection", "connection",
    "reconnection", "reconnection", "long disconnection", "lapse", "expiry", "refusal", "leave", "crash",
    "heavier", "lighter", "lighter",
)  # fmt: skip
MOST_ACTORS: Final = 7


actors_indices: Final = st.integers(0, MOST_ACTORS - 1)


class GroupMachine(RuleBasedStateMachine):
    """The interleavings. See the invariants for what is promised."""

    def __init__(self) -> None:
        super().__init__()
        self.service = Service()
        self.actors: list[Actor] = []
        self.views: dict[int, dict[str, int]] = {}  # generation -> the members in anybody's view of it

    def actor(self, index: int) -> Actor:
        alive = [each for each in self.actors if each.alive]
        return alive[index % len(alive)]

    def somebody_is_alive(self) -> bool:
        return any(actor.alive for actor in self.actors)

    # ---- what happens. Few rules, for they are drawn evenly, and most of the time everybody should just go on.

    @rule(
        member_id=st.sampled_from(IDS),
        weight=st.integers(1, 2),
        min_members=st.sampled_from([1, 1, 1, 2]),
        steps=st.integers(0, 12),
    )
    @precondition(lambda self: len(self.actors) < MOST_ACTORS)
    def start(self, member_id: str, weight: int, min_members: int, steps: int) -> None:
        # Nonces in no order: the later process need not have the higher one.
        nonce = f"{(len(self.actors) * 5 + 3) % 11:016x}"
        group = Group("g", Member(member_id, weight), POLICY, min_members, nonce)
        self.actors.append(Actor(self.service, group, self.service.open()))
        for _ in range(steps):
            self.actors[-1].advance()

    @rule(index=actors_indices, steps=st.integers(1, 6), news=st.booleans(), lag=st.sampled_from(LAGS))
    @precondition(somebody_is_alive)
    def go_on(self, index: int, steps: int, news: bool, lag: int) -> None:
        actor = self.actor(index)
        if news:
            actor.hear()
        for _ in range(steps):
            actor.advance(lag)

    @rule(index=actors_indices, lag=st.sampled_from(LAGS), then=st.sampled_from(EVENTS))
    @precondition(somebody_is_alive)
    def go_half_way(self, index: int, lag: int, then: str) -> None:
        """The service, or a server that lags, does what was asked. While the answer is on its way something happens."""
        actor = self.actor(index)
        actor.execute(lag)
        self.happen(actor, then)

    @rule(index=actors_indices, what=st.sampled_from(EVENTS))
    @precondition(somebody_is_alive)
    def something_happens(self, index: int, what: str) -> None:
        self.happen(self.actor(index), what)

    def happen(self, actor: Actor, what: str) -> None:
        if what == "news":
            actor.hear()
        elif what == "lost news":
            actor.news = 0
            self.service.watchers.discard(actor)
        elif what == "heartbeat":
            actor.heartbeat()
        elif what == "disconnection":
            actor.disconnect()
        elif what == "connection":
            actor.reconnect()
        elif what == "reconnection":
            actor.disconnect()
            actor.reconnect()
        elif what == "lapse":
            actor.lapse()
        elif what == "long disconnection":
            actor.disconnect()
            actor.lapse()
            actor.reconnect()
        elif what == "expiry":
            actor.lapse()  # always before
            self.service.end(actor.session)
        elif what == "refusal":
            actor.refuse(AuthenticationError("no"))
        elif what in ("heavier", "lighter"):
            actor.group.candidacy.set_weight(actor.group.member.weight + 1 if what == "heavier" else 1)
        elif what == "leave":
            actor.group.leave()
        elif what == "crash":
            actor.crash()

    @rule(index=st.integers(0, 9), all_of_them=st.sampled_from([True, False, False]))
    @precondition(lambda self: self.service.entries)
    def operator_deletes(self, index: int, all_of_them: bool) -> None:
        names = sorted(self.service.entries or ())
        doomed = names if all_of_them else [names[index % len(names)]]
        for actor in self.actors:
            if any(name.endswith(actor.group.nonce) for name in doomed):
                actor.had_view = False
        if all_of_them:
            self.service.delete_group()
        else:
            self.service.delete(doomed)

    # ---- what is promised

    @invariant()
    def one_generation_has_one_set_of_members(self) -> None:
        """P1: whoever sees a generation sees the same members with the same weights, and no more and no fewer."""
        for actor in self.actors:
            view = actor.group.view
            if view is None or actor.gone:
                continue
            members = {member.id: member.weight for member in view.members}
            assert members == live_members(self.service.history[view.generation])
            assert self.views.setdefault(view.generation, members) == members
            assert actor.group.member.id in members
            assert len(members) >= actor.group.min_members

    @invariant()
    def nothing_is_believed_of_before_a_lapse(self) -> None:
        """P3: a view of before a lapse of the lease is used again only if a look after it has found it the newest."""
        for actor in self.actors:
            view = actor.group.view
            if actor.holding and not actor.gone and view is not None:
                assert view.generation >= actor.floor

    @invariant()
    def views_follow_one_another(self) -> None:
        """As a fencing token a generation must never go back, whatever old story a lagging server tells."""
        for actor in self.actors:
            view = actor.group.view
            if view is not None:
                assert view.generation >= actor.newest
                actor.newest = view.generation

    @invariant()
    def a_view_stays_unless_something_speaks_against_it(self) -> None:
        """P3, the other half: joins, leaves and short disconnections of whomever take no view away."""
        for actor in self.actors:
            if actor.active and actor.holding and actor.group.view is not None:
                # If somebody has deleted its entry it will lose the view, once it knows.
                actor.had_view = any(name.endswith(actor.group.nonce) for name in self.service.entries or ())
            elif actor.active and actor.had_view:
                short = len(live_members(self.service.history.get(actor.group._generation or 0, frozenset())))
                assert short < actor.group.min_members
                actor.had_view = False

    @invariant()
    def who_has_left_or_was_superseded_owns_nothing(self) -> None:
        """P6: from the very call or reading on."""
        for actor in self.actors:
            if not actor.active and not actor.gone:
                assert actor.group.view is None

    @invariant()
    def who_cannot_take_part_owns_nothing(self) -> None:
        """Between a refusal and the next success."""
        for actor in self.actors:
            if actor.group.error is not None:
                assert actor.group.view is None

    @invariant()
    def only_a_later_start_supersedes(self) -> None:
        """P6: the older incarnation is fenced, never the one that found it there when it came."""
        for actor in self.actors:
            if isinstance(actor.group.error, MemberSupersededError):
                older = actor.group.candidacy._predecessors or set()
                namesakes = [other for other in self.actors if other.group.member.id == actor.group.member.id]
                assert any(other is not actor and other.group.nonce not in older for other in namesakes)

    @invariant()
    def asking_changes_nothing(self) -> None:
        """next_step() is a question."""
        for actor in self.actors:
            before = state_of(actor.group)
            assert actor.group.next_step() is actor.group.next_step()
            assert state_of(actor.group) == before

    @invariant()
    def lapses_only_grow(self) -> None:
        """So that whoever remembers the number notices that the continuity was broken."""
        for actor in self.actors:
            assert actor.group.lapses >= actor.lapses
            actor.lapses = actor.group.lapses

    def teardown(self) -> None:
        """P5: once the faults are over, everything converges by itself."""
        for actor in self.actors:
            if actor.gone:
                self.service.end(actor.session)
        # Each round: everybody has a connection, hears the news, has a heartbeat, and comes to rest. What one does is
        # news to the others, so the rounds go on until nothing changes; a few must do.
        for _ in range(4 + 2 * len(self.actors)):
            before = self.service.transaction
            for actor in self.actors:
                if actor.alive:
                    self.settle(actor)
            if self.service.transaction == before:
                break
        else:
            raise AssertionError("the members never come to rest")
        for actor in self.actors:
            if actor.alive:
                self.settle(actor)
        self.one_generation_has_one_set_of_members()
        self.converged()

    def settle(self, actor: Actor) -> None:
        actor.reconnect()
        while actor.news:
            actor.hear()
        for _ in range(2):  # the first may find that the session has ended
            actor.heartbeat()
            for _ in range(3 * MOST_STEPS_TO_REST):
                actor.advance()
            actor.reconnect()

    def converged(self) -> None:
        names = frozenset(self.service.entries or ())
        active = [actor for actor in self.actors if actor.active]
        # Exactly the live members are there, each once, at the newest generation.
        assert sorted(name.rpartition(";")[2] for name in names) == sorted(actor.group.nonce for actor in active)
        assert len({actor.group.member.id for actor in active}) == len(active)
        for actor in active:
            assert actor.group.error is None
            if len(active) < actor.group.min_members:
                assert actor.group.view is None
            else:
                assert actor.group.view is not None
                assert actor.group.view.generation == self.service.generation
                assert actor.group.weighed
                assert live_members(names)[actor.group.member.id] == actor.group.member.weight
                assert live_members(names) == {member.id: member.weight for member in actor.group.view.members}
        # Who was asked to leave is through with it, and nobody was superseded but by another.
        for actor in self.actors:
            assert actor.gone or actor.finished or not actor.group.leaving
        for member_id in IDS:
            # Of those that go on with one id one takes part; a superseded one does so when its successor has gone.
            going_on = [
                actor
                for actor in self.actors
                if actor.group.member.id == member_id and actor.alive and not actor.group.leaving
            ]
            assert any(actor.active for actor in going_on) or not going_on


def live_members(names: frozenset[str]) -> dict[str, int]:
    """The members and their weights, by the rule of the documentation."""
    entries = sorted((Entry.parse(name) for name in names), key=lambda entry: entry.seniority if entry else (0, ""))
    return {entry.member_id: entry.weight for entry in entries if entry is not None}


def state_of(group: Group) -> dict[str, Any]:
    return {name: value.copy() if isinstance(value, set | dict) else value for name, value in vars(group).items()}


TestGroups = GroupMachine.TestCase
TestGroups.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("seed", range(8))
def test_many_interleavings(seed: int) -> None:
    """The same machine at full speed: many more interleavings, told apart by ``seed`` and ``run``."""
    for run in range(RUNS):
        chance = random.Random(f"{seed} {run}")
        machine = GroupMachine()
        try:
            for _ in range(chance.randint(5, 60)):
                interleave(machine, chance)
                for promise in PROMISES:
                    promise(machine)
            machine.teardown()
        except BaseException as error:
            error.add_note(f"in run {run}")
            raise


RUNS: Final = 120
PROMISES: Final = [
    GroupMachine.one_generation_has_one_set_of_members,
    GroupMachine.nothing_is_believed_of_before_a_lapse,
    GroupMachine.views_follow_one_another,
    GroupMachine.a_view_stays_unless_something_speaks_against_it,
    GroupMachine.who_has_left_or_was_superseded_owns_nothing,
    GroupMachine.who_cannot_take_part_owns_nothing,
    GroupMachine.only_a_later_start_supersedes,
    GroupMachine.lapses_only_grow,
]


def interleave(machine: GroupMachine, chance: random.Random) -> None:
    alone = not machine.somebody_is_alive()
    if len(machine.actors) < MOST_ACTORS and (alone or chance.random() < 0.08):
        machine.start(chance.choice(IDS), chance.randint(1, 2), chance.choice([1, 1, 1, 2]), chance.randint(0, 12))
        return
    if alone:
        return
    index = chance.randrange(MOST_ACTORS)
    match chance.choices(["go on", "half way", "event", "operator"], [6, 3, 2, 0.3])[0]:
        case "go on":
            machine.go_on(index, chance.randint(1, 6), chance.random() < 0.5, chance.choice(LAGS))
        case "half way":
            machine.go_half_way(index, chance.choice(LAGS), chance.choice(EVENTS))
        case "event":
            machine.something_happens(index, chance.choice(EVENTS))
        case _:
            if machine.service.entries:
                machine.operator_deletes(index, chance.random() < 0.3)
