"""The slot table: every slot has its owners, everybody agrees on them, few move, and no release moves any."""

import math
import os
import random
import subprocess
import sys
import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any
from uuid import UUID

import pytest
import uhashring  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from aiopartition.errors import GroupTooLargeError
from aiopartition.placement import assign, ring
from aiopartition.placement.assign import build, build_steps
from aiopartition.placement.keys import Key, encode, hash_key
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.ring import POINTS_PER_STEP, points_of
from aiopartition.placement.table import Table
from tests.unit.placement.tables import agents, fingerprint, owners_by_slot

Points = list[tuple[int, str]]


# What a table must be, written from the text of "format 1" alone.


def ring_of(members: Mapping[str, int], vnodes: int) -> Points:
    """The points of all the members, each with those of a HashRing of its own."""

    def hash_label(label: str) -> int:
        return hash_key(label.encode("utf-8", "surrogatepass"))

    points: Points = []
    for each, weight in members.items():
        count = max(1, math.floor(Fraction(vnodes * weight * len(members), sum(members.values())) + Fraction(1, 2)))
        ring: Any = uhashring.HashRing([each], vnodes=count, hash_fn=hash_label)
        points += ring.get_points()
    return sorted(points)


def reference(members: Mapping[str, int], policy: GroupPolicy, ring: Points | None = None) -> list[list[str]]:
    """The owners of each slot by format 1, as plainly as possible."""
    members = {each: weight for each, weight in members.items() if weight}
    members = {each: weight // math.gcd(*members.values()) for each, weight in members.items()}
    ring = ring_of(members, policy.vnodes) if ring is None else ring
    bits = int(math.log2(policy.slots))
    owners: list[list[str]] = [[] for _ in range(policy.slots)]
    owned = Counter[str]()
    for rank in range(min(policy.replicas, len(members))):
        cap = {
            each: math.ceil(policy.load_bound * (rank + 1) * policy.slots * weight / sum(members.values()))
            for each, weight in members.items()
        }
        for count in range(policy.slots):
            slot = sum(1 << (bits - 1 - bit) for bit in range(bits) if count >> bit & 1)
            first = bisect_left(ring, (slot << (64 - bits), ""))
            walk = [owner for _, owner in ring[first:] + ring[:first] if owner not in owners[slot]]
            owner = next((owner for owner in walk if owned[owner] < cap[owner]), walk[0])
            owners[slot].append(owner)
            owned[owner] += 1
    return owners


def equal(ids: Sequence[str]) -> dict[str, int]:
    return dict.fromkeys(ids, 1)


def uuids(count: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return [str(uuid.UUID(int=source.getrandbits(128), version=4)) for _ in range(count)]


member_ids = st.text(st.characters(), min_size=1, max_size=6)
weights = st.one_of(st.integers(0, 5), st.integers(0, 1000))
memberships = st.dictionaries(member_ids, weights, min_size=1, max_size=9).filter(lambda members: any(members.values()))
policies = st.builds(
    GroupPolicy,
    replicas=st.integers(1, 4),
    load_bound=st.sampled_from([1.0, 1.05, 1.1, 1.5, 2.0]),
    slots=st.sampled_from([16, 64, 256]),
    vnodes=st.integers(1, 12),
)


# Format 1.

GOLDEN: list[tuple[str, dict[str, int], GroupPolicy, str]] = [
    ("one", {"only": 1}, GroupPolicy(load_bound=1.1), "82018424c2a60f6d1e0a7eda"),
    ("three", equal(agents(3)), GroupPolicy(load_bound=1.1), "bc9790ecc9ea55138df5a343"),
    ("hundred, by default", equal(uuids(100, 1)), GroupPolicy(), "63ba51c48f28e15a8a7b084b"),
    ("ten", equal(agents(10)), GroupPolicy(load_bound=1.1), "2c12022f0008e96adc931048"),
    ("hundred", equal(uuids(100, 1)), GroupPolicy(load_bound=1.1), "48807472a4cbc810009b32a5"),
    ("weights", {"small": 1, "middle": 3, "large": 10}, GroupPolicy(load_bound=1.1), "37f8a5de7cf1b3d90ea09acc"),
    ("two replicas", equal(agents(5)), GroupPolicy(replicas=2, load_bound=1.1), "13727f6a2a85466937f0837f"),
    (
        "three replicas, weights",
        {"a": 1, "b": 2, "c": 2, "d": 4, "e": 1},
        GroupPolicy(replicas=3, load_bound=1.1),
        "2da7f2f296590146e4db14dd",
    ),
    (
        "more replicas than members",
        equal(agents(2)),
        GroupPolicy(replicas=5, load_bound=1.1),
        "f473d87ebfd9ba6ff6443b36",
    ),
    ("no slack", equal(agents(8)), GroupPolicy(load_bound=1.0), "d575695657d364400a8edcec"),
    (
        "other numbers",
        equal(agents(7)),
        GroupPolicy(load_bound=1.25, slots=1024, vnodes=40),
        "a57e2caab03c4f5f77cab4e6",
    ),
    (
        "unicode",
        {"Zürich": 1, "東京": 2, "\U0001f40d": 1, "a/b c": 1, "\udcff": 1},
        GroupPolicy(load_bound=1.1),
        "467e0df3ab666312274a1792",
    ),
]


@pytest.mark.parametrize(
    ("members", "policy", "expected"), [case[1:] for case in GOLDEN], ids=[case[0] for case in GOLDEN]
)
def test_golden_tables(members: dict[str, int], policy: GroupPolicy, expected: str) -> None:
    """Format 1 is fixed: no release gives a slot other owners. A failure here moves keys at every user."""
    assert fingerprint(build(members, policy)) == expected


GOLDEN_OWNERS: dict[Key, tuple[int, tuple[str, ...]]] = {
    "": (2881, ("agent-0", "agent-2")),
    "order-7": (5300, ("agent-2", "agent-0")),
    "Zürich/東京": (4789, ("agent-2", "agent-1")),
    b"\xff\x00": (705, ("agent-0", "agent-2")),
    0: (1632, ("agent-2", "agent-0")),
    -12: (2424, ("agent-2", "agent-1")),
    UUID("12345678-abcd-1234-5678-1234567890ab"): (13337, ("agent-1", "agent-2")),
    ("eu", 7): (2437, ("agent-2", "agent-1")),
}


def test_golden_owners() -> None:
    """Some keys and their owners in full, for whoever implements format 1 elsewhere."""
    table = build({"agent-0": 1, "agent-1": 1, "agent-2": 2}, GroupPolicy(replicas=2, load_bound=1.1))
    assert [(key, table.slot(encode(key)), table.owners(encode(key))) for key in GOLDEN_OWNERS] == [
        (key, slot, owners) for key, (slot, owners) in GOLDEN_OWNERS.items()
    ]


@given(memberships, policies)
@settings(deadline=None, max_examples=150)
def test_equals_the_plain_reference(members: dict[str, int], policy: GroupPolicy) -> None:
    """However it is compiled, the table is what the text of format 1 says over one ring of all the members."""
    assert owners_by_slot(build(members, policy)) == reference(members, policy)


@pytest.mark.parametrize(
    ("members", "policy"),
    [
        ({"heavy": 12, "light": 1, "other": 3}, GroupPolicy(slots=512, replicas=2)),
        ({"heavy": 4, "light": 1}, GroupPolicy(slots=512, vnodes=1000)),
    ],
    ids=["weights", "vnodes"],
)
def test_heavy_members_equal_the_reference(members: dict[str, int], policy: GroupPolicy) -> None:
    """A member whose points are made in several lots has the points of one uhashring node."""
    assert policy.vnodes * members["heavy"] > 3 * POINTS_PER_STEP
    assert owners_by_slot(build(members, policy)) == reference(members, policy)


def test_is_the_lookup_of_uhashring_where_no_cap_binds() -> None:
    """With room for everybody a slot belongs to the node that uhashring finds for the start of its range."""
    members = equal(agents(9))
    table = build(members, GroupPolicy(load_bound=2.0))

    def hash_label(label: str | int) -> int:
        return label if isinstance(label, int) else hash_key(label.encode())

    ring: Any = uhashring.HashRing(dict(sorted(members.items())), vnodes=160, hash_fn=hash_label)
    assert list(table.ranks[0]) == [ring.get_node(slot << 50) for slot in range(16384)]


@given(memberships, policies)
@settings(deadline=None, max_examples=50)
def test_equal_points_are_taken_in_the_order_of_ids(members: dict[str, int], policy: GroupPolicy) -> None:
    """Should two labels have one hash, nothing depends on chance, and no member drops off the ring."""

    def coarse_hash(label: bytes) -> int:
        return hash_key(label) >> 61 << 61

    points = {
        (coarse_hash(f"{each}-{number}".encode("utf-8", "surrogatepass")), each)
        for each, count in points_of(
            {each: weight for each, weight in members.items() if weight}, policy.vnodes
        ).items()
        for number in range(count)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring, "hash_key", coarse_hash)
        patch.setattr(ring, "_points", ring._points.__wrapped__)  # none that are kept
        table = build(members, policy)
    assert owners_by_slot(table) == reference(members, policy, sorted(points))


# Agreement, completeness, disjointness.


@given(memberships, policies)
@settings(deadline=None)
def test_each_slot_has_exactly_its_owners(members: dict[str, int], policy: GroupPolicy) -> None:
    """Each slot has min(replicas, members) distinct owners, all of them members; the masks say the same."""
    table = build(members, policy)
    count = min(policy.replicas, sum(weight > 0 for weight in members.values()))
    assert table.slots == policy.slots
    assert len(table.ranks) == count
    assert all(len(set(row)) == count and all(members[each] for each in row) for row in owners_by_slot(table))
    masks = [table.mask(each) for each in table.members]
    assert all(len(mask) == policy.slots and {type(each) for each in mask} == {bool} for mask in masks)
    assert [sum(column) for column in zip(*masks, strict=True)] == [count] * policy.slots


@given(memberships, policies, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_members_does_not_matter(
    members: dict[str, int], policy: GroupPolicy, shuffler: random.Random
) -> None:
    """Whoever joined first, the table is the same, down to its representation."""
    shuffled = list(members.items())
    shuffler.shuffle(shuffled)
    assert build(dict(shuffled), policy) == build(members, policy)
    assert build(members, policy).members == tuple(sorted(members))


def test_the_process_does_not_matter() -> None:
    """Processes with other hash seeds, which order their sets differently, compile the same table."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from aiopartition.placement.assign import build; from aiopartition.placement.policy import GroupPolicy\n"
        "from tests.unit.placement.tables import agents, fingerprint\n"
        "members = {name: 1 + len(name) % 3 for name in set(agents(30))}\n"
        "print(fingerprint(build(members, GroupPolicy(replicas=2, load_bound=1.0, slots=1024))))"
    )
    root = str(Path(__file__).parents[3])
    printed = [
        subprocess.run(
            [sys.executable, "-c", program, root],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    ]
    members = {name: 1 + len(name) % 3 for name in agents(30)}
    assert printed == [fingerprint(build(members, GroupPolicy(replicas=2, load_bound=1.0, slots=1024)))] * 3


@given(memberships, policies)
@settings(deadline=None, max_examples=50)
def test_more_replicas_only_add_owners(members: dict[str, int], policy: GroupPolicy) -> None:
    """The first owner of a slot does not depend on how many replicas follow."""
    single = GroupPolicy(load_bound=policy.load_bound, slots=policy.slots, vnodes=policy.vnodes)
    assert build(members, policy).ranks[0] == build(members, single).ranks[0]


def test_a_table_without_members_is_an_error() -> None:
    """Nobody to own a slot is a mistake of the caller's, and so is a weight that gives no place on the ring."""
    for nobody in ({}, {"a": 0}, {"a": 0, "b": 0}):
        with pytest.raises(ValueError, match="at least one member with a weight above 0"):
            build(nobody, GroupPolicy())
    with pytest.raises(ValueError, match="weight of a member is at least 0"):
        build({"a": 1, "b": -1}, GroupPolicy(replicas=2))


# Weights.


@given(memberships, policies, st.integers(1, 50))
@settings(deadline=None, max_examples=60)
def test_weights_are_relative(members: dict[str, int], policy: GroupPolicy, factor: int) -> None:
    """Weights of 500 and 1000 are 1 and 2: the same table, to the last slot."""
    assert build({each: weight * factor for each, weight in members.items()}, policy) == build(members, policy)


@given(memberships, policies)
@settings(deadline=None, max_examples=60)
def test_members_of_weight_0_only_look_on(members: dict[str, int], policy: GroupPolicy) -> None:
    """They are members, with a share of nothing, and change nothing for the others."""
    table = build({**members, "drained": 0, "idle": 0}, policy)
    assert table.ranks == build({each: weight for each, weight in members.items() if weight}, policy).ranks
    assert {"drained", "idle", *members} == set(table.members)
    assert table.shares()["drained"] == 0.0
    assert not any(table.mask("idle"))


@pytest.mark.parametrize(
    "weights", [[500] * 50, [1000] * 300, [1, *[1000] * 99], [*[1] * 99, 1000], range(1, 301), range(701, 1001)]
)
def test_no_weights_cost_more_than_others(weights: Sequence[int]) -> None:
    """The points on the ring are those of as many equal members, and at most one more for each."""
    members = dict(zip(uuids(len(weights), 4), weights, strict=True))
    counts = points_of(members, 160)
    assert min(counts.values()) >= 1
    assert sum(counts.values()) <= 161 * len(members)
    total = sum(weights)
    for each, count in counts.items():
        assert abs(count - 160 * len(members) * members[each] / total) <= 1


@pytest.mark.parametrize(
    ("weight", "others"),
    [(2, [1] * 10), (1, [2] * 10), (101, [100] * 10), (50, [100] * 10), (10, [1, 2, 5, 10] * 5), (1000, [1] * 30)],
)
def test_other_weights_move_little(weight: int, others: list[int]) -> None:
    """Beyond what has to move, a join moves what the joiner's weight differs from the average, and hardly more."""
    excess: list[float] = []
    for seed in range(4):
        joiner, *ids = uuids(len(others) + 1, seed)
        before = dict(zip(ids, others, strict=True))
        moved = build({**before, joiner: weight}, GroupPolicy()).moved(build(before, GroupPolicy()))
        excess.append(moved - weight / (sum(others) + weight))
    total = sum(others) + weight
    average = total / (len(others) + 1)
    assert fmean(excess) <= abs(weight - average) / total + 0.3 / len(others)


def test_a_group_can_be_too_large() -> None:
    """Beyond a generous bound nothing is calculated, and the error names both numbers."""
    limit = ring.MAX_POINTS // 160
    assert limit > 10_000
    with pytest.raises(
        GroupTooLargeError, match="12,501 members that take part, and its policy allows 12,500"
    ) as caught:
        next(build_steps(equal(agents(limit + 1)), GroupPolicy()))
    assert (caught.value.members, caught.value.limit) == (limit + 1, limit)
    next(build_steps(equal(agents(limit)), GroupPolicy()))
    next(build_steps({**equal(agents(limit)), "drained": 0}, GroupPolicy()))


# Balance and stability.


@given(memberships, policies)
@settings(deadline=None)
def test_no_cap_is_exceeded(members: dict[str, int], policy: GroupPolicy) -> None:
    """As the first owner of slots, nobody goes beyond load_bound times the fair share, rounded up to a slot."""
    firsts = Counter(build(members, policy).ranks[0])
    for each, weight in members.items():
        assert firsts[each] <= math.ceil(policy.load_bound * policy.slots * weight / sum(members.values()))


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("count", [10, 30, 100])
def test_equal_members_have_equal_work(count: int, replicas: int) -> None:
    """With replicas too, the busiest member has at most load_bound times the mean, and nobody goes short."""
    shares = build(equal(agents(count)), GroupPolicy(replicas=replicas)).shares()
    assert sum(shares.values()) == pytest.approx(replicas)
    mean = replicas / count
    assert max(shares.values()) <= 1.08 * mean + 1 / 16384
    assert min(shares.values()) >= 0.65 * mean


def test_work_follows_the_weights() -> None:
    """A member of ten times the weight takes ten times the slots, within the bound."""
    weights = {"a": 1, "b": 2, "c": 5, "d": 10, "e": 10}
    shares = build(weights, GroupPolicy()).shares()
    assert list(shares) == sorted(weights)
    for each, weight in weights.items():
        assert 0.8 * weight / 28 <= shares[each] <= 1.08 * weight / 28 + 1 / 16384


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("count", [3, 10, 30, 100])
def test_few_slots_move(count: int, replicas: int) -> None:
    """When one member joins or leaves, at most 1.3 times the share of slots moves that has to, averaged over names."""
    policy = GroupPolicy(replicas=replicas)
    joins: list[float] = []
    leaves: list[float] = []
    for ids in (agents(count + 1), agents(count + 1, "host.example"), uuids(count + 1, 1), uuids(count + 1, 2)):
        before = build(equal(ids[:count]), policy)
        joins.append(build(equal(ids), policy).moved(before) / (replicas / (count + 1)))
        leaves.append(build(equal(ids[1:count]), policy).moved(before) / (replicas / count))
    assert 0.8 <= fmean(joins) <= 1.3
    assert 0.8 <= fmean(leaves) <= 1.3


@given(memberships, memberships, policies, policies)
@settings(deadline=None, max_examples=60)
def test_moved_compares_sets_of_owners(
    members: dict[str, int], others: dict[str, int], policy: GroupPolicy, another: GroupPolicy
) -> None:
    """The share that moved counts slots whose set of owners differs; another order among them is no move."""
    table, other = build(members, policy), build({**others, min(members): 2}, policy)
    ranks = len(table.ranks)
    if len(other.ranks) != ranks:
        assert table.moved(other) == 1.0
        return
    pairs = list(zip(owners_by_slot(table), owners_by_slot(other), strict=True))
    assert table.moved(other) == sum(set(left) != set(right) for left, right in pairs) / policy.slots
    assert table.moved(table) == 0.0
    resized = build(members, another)
    if another.slots != policy.slots or len(resized.ranks) != len(table.ranks):
        assert table.moved(resized) == 1.0


def test_moved_ignores_the_order_of_owners() -> None:
    """Two owners of a slot that change places move nothing."""
    left = Table(("a", "b", "c"), (("a", "b"), ("b", "c")))
    right = Table(("a", "b", "c"), (("b", "b"), ("a", "a")))
    assert left.moved(right) == right.moved(left) == 0.5


# Giving way to the event loop.


def work_of_steps(members: Mapping[str, int], policy: GroupPolicy, patch: pytest.MonkeyPatch) -> list[Counter[str]]:
    """How many labels each step of the build hashes, and how many slots it places."""
    now = Counter[str]()
    steps: list[Counter[str]] = []

    def counted(name: str, function: Callable[..., int]) -> Callable[..., int]:
        def count(*args: Any) -> int:
            now[name] += 1
            return function(*args)

        return count

    ring._points.cache_clear()
    patch.setattr(ring, "hash_key", counted("labels", hash_key))
    visiting_order = assign.visiting_order

    def counted_order(slots: int) -> Iterator[int]:
        for slot in visiting_order(slots):
            now["slots"] += 1
            yield slot

    patch.setattr(assign, "visiting_order", counted_order)
    for _ in build_steps(members, policy):
        steps.append(now.copy())
        now.clear()
    return [*steps, now]


@pytest.mark.parametrize("members", [equal(agents(200)), {"heavy": 1000, **equal(agents(99))}], ids=["many", "heavy"])
def test_the_build_gives_way(members: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many or heavy the members are, little is done between two yields of the build."""
    steps = work_of_steps(members, GroupPolicy(), monkeypatch)
    points = sum(points_of(members, 160).values())
    assert sum(step["labels"] for step in steps) == points
    assert sum(step["slots"] for step in steps) == 16384
    assert max(step["labels"] for step in steps) <= POINTS_PER_STEP
    assert max(step["slots"] for step in steps) <= 1024 + 1  # the one that it stopped at
    assert not any(step["labels"] and step["slots"] for step in steps)
    assert sum(not step for step in steps) >= points // (2 * POINTS_PER_STEP)  # the ring is sorted in these


def test_a_join_costs_the_hashes_of_one_member_and_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not change is used again, and the table is the one that a fresh process builds."""
    before, after = equal(agents(40)), equal(agents(41))
    build(before, GroupPolicy())
    fresh = work_of_steps(after, GroupPolicy(), monkeypatch)
    assert sum(step["labels"] for step in fresh) == 160 * 41
    monkeypatch.undo()
    ring._points.cache_clear()
    for members in (after, {**before, "heavy": 9}, before, {**after, "agent-1": 3}, before):
        build(members, GroupPolicy())
    hits = ring._points.cache_info().misses
    again = build(after, GroupPolicy())
    assert ring._points.cache_info().misses == hits  # all of these points are known
    ring._points.cache_clear()
    assert again == build(after, GroupPolicy())


def test_long_walks_give_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each slot takes a long walk, fewer of them are placed between two yields."""
    # Two heavy members own everything at first, and alternate on the ring: the third owner of a slot is far away.
    members = {"heavy": 1000, "other": 1000, "light": 1}
    steps = work_of_steps(members, GroupPolicy(replicas=3, slots=1024, vnodes=1000), monkeypatch)
    placing = [step["slots"] for step in steps if step["slots"]]
    assert sum(placing) == 3 * 1024
    assert max(placing[-4:]) < 512
