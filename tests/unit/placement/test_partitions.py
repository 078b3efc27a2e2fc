"""Numbered partitions: every member has exactly its quota, everybody agrees, few move, and no release moves any."""

import hashlib
import pickle
import random
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction
from itertools import islice
from math import ceil, floor, gcd
from statistics import fmean
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from aiopartition import ConfigurationError, GroupPolicy, GroupTooLargeError, Partition, View, partitions
from aiopartition.errors import PolicyMismatchError
from aiopartition.group.document import check_document, document_of
from aiopartition.placement import quotas as quotas_module
from aiopartition.placement.assign import build, build_steps
from aiopartition.placement.keys import encode, hash_key
from aiopartition.placement.table import Table

# What an assignment must be, written from the text of "format 1" alone.


def quotas_of(members: Mapping[str, int], total: Fraction, most: int) -> dict[str, int]:
    """How many partitions each member has, in exact fractions."""
    capped: set[str] = set()
    while True:
        rest = total - most * len(capped)
        weight = sum(members[each] for each in members if each not in capped)
        fair = {each: rest * members[each] / weight for each in members if each not in capped}
        over = {each for each, share in fair.items() if share >= most}
        if not over:
            break
        capped |= over
    result = {**dict.fromkeys(capped, most), **{each: floor(share) for each, share in fair.items()}}
    by_remainder = sorted(fair, key=lambda each: (floor(fair[each]) - fair[each], hash_of(each), each))
    for each in islice(by_remainder, int(total) - sum(result.values())):
        result[each] += 1
    return result


def hash_of(member_id: str) -> int:
    return xxhash.xxh3_64_intdigest(member_id.encode("utf-8", "surrogatepass"))


def reference(members: Mapping[str, int], count: int, replicas: int) -> list[list[str]]:
    """The owners of each partition, the first one first: all pairs sorted, the best taken first."""
    members = {each: weight for each, weight in members.items() if weight}
    members = {each: weight // gcd(*members.values()) for each, weight in members.items()}
    replicas = min(replicas, len(members))

    def score(number: int, member: str) -> tuple[int, int, str]:
        return xxhash.xxh3_64_intdigest(str(number).encode(), hash_of(member)) // members[member], number, member

    def match(allowed: list[set[str]], room: dict[str, int], wanted: int) -> list[set[str]]:
        owners: list[set[str]] = [set() for _ in allowed]
        for _, number, member in sorted(score(number, each) for number, some in enumerate(allowed) for each in some):
            if len(owners[number]) < wanted and room[member]:
                owners[number].add(member)
                room[member] -= 1
        for number in range(count):
            while len(owners[number]) < wanted:
                if not exchange(number, allowed, owners, room):
                    return owners
        return owners

    def exchange(start: int, allowed: list[set[str]], owners: list[set[str]], room: dict[str, int]) -> bool:
        chains: list[list[tuple[int, str]]] = [[]]  # each: which partition takes whom, in turn
        reached, seen = {start}, set[str]()
        while chains:
            longer: list[list[tuple[int, str]]] = []
            for chain in chains:
                number = start if not chain else chain[-1][0]
                for member in sorted(allowed[number] - owners[number], key=lambda each: score(number, each)):
                    if member in seen:
                        continue
                    seen.add(member)
                    taken = [*chain[:-1], (chain[-1][0], chain[-1][1])] if chain else []
                    if room[member]:
                        room[member] -= 1
                        takers = [start, *(partition for partition, _ in taken)]
                        given = [lost for _, lost in taken] + [member]
                        for taker, gained in zip(takers, given, strict=True):
                            owners[taker].add(gained)
                        for loser, lost in taken:
                            owners[loser].remove(lost)
                        return True
                    for other in range(count):
                        if member in owners[other] and other not in reached:
                            reached.add(other)
                            longer.append([*taken, (other, member)])
            chains = longer
        return False

    chosen = match([set(members)] * count, quotas_of(members, Fraction(count * replicas), count), replicas)
    firsts = match(chosen, quotas_of(members, Fraction(count), count), 1)
    return [
        sorted(row, key=lambda each: (each not in first, score(number, each)))
        for number, (row, first) in enumerate(zip(chosen, firsts, strict=True))
    ]


def owners_of(table: Table, count: int) -> list[list[str]]:
    return [list(table.owners(encode(each))) for each in partitions(count)]


def equal(count: int, seed: int = 0) -> dict[str, int]:
    chance = random.Random(seed)
    return {f"member-{chance.getrandbits(40):010x}": 1 for _ in range(count)}


member_ids = st.text(st.characters(), min_size=1, max_size=6)
weights = st.one_of(st.just(1), st.integers(0, 5), st.integers(0, 1000))
memberships = st.dictionaries(member_ids, weights, min_size=1, max_size=12).filter(
    lambda members: any(members.values())
)
counts = st.one_of(st.integers(1, 40), st.integers(1, 200))


def policy_of(count: int, replicas: int = 1, **arguments: Any) -> GroupPolicy:
    return GroupPolicy(partitions=count, replicas=replicas, slots=256, **arguments)


# Format 1.


def fingerprint(table: Table, count: int) -> str:
    text = "\n".join(",".join(row) for row in owners_of(table, count))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


GOLDEN: list[tuple[dict[str, int], int, int, str]] = [
    ({"only": 1}, 5, 1, "d1ee292be4f20953110b57b2"),
    ({f"agent-{number}": 1 for number in range(3)}, 24, 1, "3fa5366c7ad386bca973f9c9"),
    ({f"agent-{number}": 1 for number in range(10)}, 64, 1, "bfc29887c3c43864bfb8744c"),
    ({f"agent-{number}": 1 for number in range(100)}, 1000, 1, "27eb243b65ce356e6659bb64"),
    ({f"agent-{number}": 1 for number in range(100)}, 4096, 3, "f2d7e9f12110da7329246f2a"),
    ({"small": 1, "middle": 3, "large": 10, "drained": 0}, 100, 1, "96f845ea63fe95ad12600b05"),
    ({"a": 1, "b": 2, "c": 2, "d": 400, "e": 1}, 50, 3, "52d40af24fdf406e878439f5"),
    ({"Zürich": 1, "東京": 2, "\U0001f40d": 1, "a/b c": 1, "\udcff": 1}, 77, 2, "4565e72812ea4f1830b019b1"),
]


@pytest.mark.parametrize(("members", "count", "replicas", "expected"), GOLDEN, ids=range(len(GOLDEN)))
def test_golden_partitions(members: dict[str, int], count: int, replicas: int, expected: str) -> None:
    """Format 1 is fixed: no release gives a partition other owners. A failure here moves work at every user."""
    assert fingerprint(build(members, GroupPolicy(partitions=count, replicas=replicas)), count) == expected


def test_golden_owners() -> None:
    """Some partitions and their owners in full, for whoever implements format 1 elsewhere."""
    table = build({"agent-0": 1, "agent-1": 1, "agent-2": 2}, GroupPolicy(partitions=8))
    assert [owner for (owner,) in owners_of(table, 8)] == [
        "agent-1",
        "agent-1",
        "agent-2",
        "agent-2",
        "agent-0",
        "agent-2",
        "agent-0",
        "agent-2",
    ]
    key = "order-7"
    assert (table.slot(encode(key)), table.partition(encode(key))) == (5300, 5300 * 8 // 16384)


@given(memberships, counts, st.integers(1, 4))
@settings(deadline=None, max_examples=300)
def test_equals_the_plain_reference(members: dict[str, int], count: int, replicas: int) -> None:
    """However it is computed, the assignment is what the text of format 1 says."""
    assert owners_of(build(members, policy_of(count, replicas)), count) == reference(members, count, replicas)


# Agreement, completeness, quotas.


@given(memberships, counts, st.integers(1, 4))
@settings(deadline=None, max_examples=300)
def test_everybody_has_exactly_its_quota(members: dict[str, int], count: int, replicas: int) -> None:
    """P2: each partition has its distinct owners; and each member its share by weight, rounded down or up."""
    table = build(members, policy_of(count, replicas))
    rows = owners_of(table, count)
    working = {each: weight for each, weight in members.items() if weight}
    replicas = min(replicas, len(working))
    assert all(len(set(row)) == len(row) == replicas and set(row) <= working.keys() for row in rows)
    had = Counter(each for row in rows for each in row)
    assert had == Counter(quotas_of(working, Fraction(count * replicas), count))
    if replicas == 1:
        for each, weight in members.items():
            fair = Fraction(count * weight, sum(members.values()))
            assert floor(fair) <= had[each] <= ceil(fair)
    if set(working.values()) == {1}:
        firsts = Counter(row[0] for row in rows)
        assert all(abs(firsts[each] - count / len(working)) < 1 for each in working)
    assert table.shares() == {each: had[each] / count for each in sorted(members)}


@pytest.mark.parametrize("seed", range(20))
def test_first_owners_are_even_too(seed: int) -> None:
    """With several owners for each partition, also of first owners each member has its share rounded down or up."""
    chance = random.Random(seed)
    members, count = equal(chance.randrange(3, 30), seed), chance.randrange(1, 120)
    rows = owners_of(build(members, policy_of(count, chance.randrange(2, 4))), count)
    firsts = Counter(row[0] for row in rows)
    assert all(floor(count / len(members)) <= firsts[each] <= ceil(count / len(members)) for each in members)


@given(memberships, counts, st.integers(1, 3), st.randoms(use_true_random=False), st.integers(1, 50))
@settings(deadline=None)
def test_only_members_and_relative_weights_matter(
    members: dict[str, int], count: int, replicas: int, shuffler: random.Random, factor: int
) -> None:
    """P1: neither the order of members, nor who looks on, nor the unit of weights enters."""
    shuffled = list(members.items())
    shuffler.shuffle(shuffled)
    policy = policy_of(count, replicas)
    table = build(members, policy)
    assert build(dict(shuffled), policy) == table
    assert build({each: weight * factor for each, weight in members.items()}, policy) == table
    assert build({**members, "drained": 0}, policy).ranks == table.ranks
    others = policy_of(count, replicas, load_bound=2.0, vnodes=1)
    assert build(members, others).ranks == table.ranks


@given(memberships, st.integers(1, 256), st.sampled_from([16, 64, 256]), st.text(max_size=10))
@settings(deadline=None)
def test_keys_belong_to_the_owner_of_their_partition(members: dict[str, int], count: int, slots: int, key: str) -> None:
    """Ordinary keys are hashed onto partitions, each a range of slots; a partition lies in itself."""
    count = min(count, slots)
    view = View.of("g", 1, members, GroupPolicy(partitions=count, slots=slots), min(members))
    partition = view.partition_of(key)
    assert type(partition) is Partition
    assert partition == (hash_key(key.encode()) >> 64 - slots.bit_length() + 1) * count // slots
    assert view.owners(key) == view.owners(partition)
    for each in partitions(count):
        assert view.partition_of(each) == each
    taken = [view.table.slot(encode(each)) * count // slots for each in partitions(count)]
    assert taken == list(range(count))


@pytest.mark.parametrize(
    ("count", "ids", "expected"),
    [
        (12, ("scheduler-1", "scheduler-2"), [6, 6]),
        (10, ("a", "b", "c", "d"), [2, 2, 3, 3]),
        (6, ("a", "b", "c"), [2, 2, 2]),
        (2, ("harry", "lloyd"), [1, 1]),
        (1, ("harry", "lloyd"), [0, 1]),
    ],
)
def test_few_heavy_items(count: int, ids: tuple[str, ...], expected: list[int]) -> None:
    """What hashing leaves to chance: nobody has two more than another, whatever the names are."""
    for seed in range(25):
        members = dict.fromkeys((f"{each}{'-' * (seed > 0)}{seed or ''}" for each in ids), 1)
        views = [View.of("g", 1, members, GroupPolicy(partitions=count), each) for each in members]
        assert sorted(len(view.mine(partitions(count))) for view in views) == expected


# Stability.


@pytest.mark.parametrize(
    ("count", "size", "limit"),
    [(3, 2, 2), (10, 4, 2), (12, 5, 2), (24, 7, 2), (64, 10, 2), (100, 33, 3.5), (1000, 100, 3.75)],
)
def test_few_partitions_move(count: int, size: int, limit: float) -> None:
    """A join or a leave moves at most ``limit`` times what has to move, on average."""
    joins: list[float] = []
    leaves: list[float] = []
    for seed in range(30 if size < 30 else 6):
        members = equal(size + 1, seed)
        *before, joiner = members
        few = owners_of(build(dict.fromkeys(before, 1), GroupPolicy(partitions=count)), count)
        many = owners_of(build(members, GroupPolicy(partitions=count)), count)
        moved = sum(left != right for left, right in zip(few, many, strict=True))
        gone = before[seed % size]
        fewer = owners_of(build(dict.fromkeys(set(before) - {gone}, 1), GroupPolicy(partitions=count)), count)
        if least := many.count([joiner]):
            joins.append(moved / least)
        if least := few.count([gone]):
            leaves.append(sum(left != right for left, right in zip(few, fewer, strict=True)) / least)
    assert 1 <= fmean(joins) <= limit
    assert 1 <= fmean(leaves) <= limit


def test_moved_counts_partitions() -> None:
    """Not slots: a partition of 683 slots counts as much as one of 682."""
    policy = GroupPolicy(partitions=24)
    before, after = build(equal(3), policy), build(equal(4), policy)
    changed = sum(left != right for left, right in zip(owners_of(before, 24), owners_of(after, 24), strict=True))
    assert after.moved(before) == changed / 24
    assert (
        build(equal(3), GroupPolicy()).moved(before) == build(equal(3), GroupPolicy(partitions=23)).moved(before) == 1.0
    )
    two, other = (build(equal(size), GroupPolicy(partitions=24, replicas=2)) for size in (5, 6))
    pairs = zip(owners_of(two, 24), owners_of(other, 24), strict=True)
    assert other.moved(two) == pytest.approx(sum(set(left) != set(right) for left, right in pairs) / 24)


# Giving way to the event loop, and bounds.


@pytest.mark.parametrize(("count", "size", "replicas"), [(1000, 100, 1), (1000, 100, 3), (4096, 30, 2)])
def test_the_build_gives_way(count: int, size: int, replicas: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few scores are calculated between two yields of the build."""
    calculated = [0]

    def counted(label: bytes, seed: int) -> int:
        calculated[-1] += 1
        return xxhash.xxh3_64_intdigest(label, seed)

    monkeypatch.setattr(quotas_module, "xxh3_64_intdigest", counted)
    steps = build_steps(equal(size), GroupPolicy(partitions=count, replicas=replicas))
    while next(steps, steps) is None:
        calculated.append(0)
    assert count * size <= sum(calculated) < 2 * count * size + 5000
    assert max(calculated) <= 1024 + size


def test_a_group_can_be_too_large() -> None:
    """The number of pairs is bounded, generously."""
    limit = quotas_module.MAX_PAIRS // 4096
    assert limit > 1000
    with pytest.raises(GroupTooLargeError) as caught:
        next(build_steps(equal(limit + 1), GroupPolicy(partitions=4096)))
    assert (caught.value.members, caught.value.limit) == (limit + 1, limit)
    next(build_steps(equal(limit), GroupPolicy(partitions=4096)))


# Partitions as values, and the policy.


def test_a_partition_is_its_number() -> None:
    """As an integer, as text, in JSON and when it is pickled."""
    third = partitions(24)[3]
    assert (third, f"queue-{third}", str(third), repr(third)) == (3, "queue-3", "3", "Partition(3)")
    assert type(pickle.loads(pickle.dumps(third))) is Partition
    assert partitions(3) == (0, 1, 2)
    assert hash(third) == hash(3)


@pytest.mark.parametrize("count", [0, -1, 4097, True, 1.0, "3", None])
def test_a_bad_count_is_refused(count: Any) -> None:
    """Also in a policy, in which 0 stands for none."""
    with pytest.raises(ConfigurationError, match="partitions"):
        partitions(count)
    if count != 0 or count is True:
        with pytest.raises(ConfigurationError, match="partitions"):
            GroupPolicy(partitions=count)


def test_more_partitions_than_slots_are_refused() -> None:
    """Each partition has at least one slot."""
    assert GroupPolicy(partitions=16, slots=16).partitions == 16
    with pytest.raises(ConfigurationError, match="partitions: must be between 0 and 16"):
        GroupPolicy(partitions=17, slots=16)


def test_the_document_names_partitions_only_if_there_are_any() -> None:
    """So a group without them can be shared with members of versions that do not know them."""
    assert "partitions" not in GroupPolicy().as_json()
    policy = GroupPolicy(partitions=24)
    assert policy.as_json()["partitions"] == 24
    check_document(document_of(policy), "g", policy)
    check_document(document_of(GroupPolicy()), "g", GroupPolicy())
    for there, here in ((policy, GroupPolicy()), (GroupPolicy(), policy), (policy, GroupPolicy(partitions=25))):
        with pytest.raises(PolicyMismatchError) as caught:
            check_document(document_of(there), "g", here)
        assert caught.value.differences == {"partitions": (there.partitions, here.partitions)}


class Named(Enum):
    THIRD = Partition(3)


@pytest.mark.parametrize("key", [Partition(3), Named.THIRD])
def test_partitions_need_a_group_that_has_them(key: Any) -> None:
    """In any other they are a mistake, which the error explains."""
    plain = View.of("g", 1, {"a": 1}, GroupPolicy(), "a")
    for use in (
        lambda: plain.owner(key),
        lambda: plain.mine([key]),
        lambda: plain.mine(["x", key]),
        lambda: plain.mine(["x"], key=lambda _: key),
    ):
        with pytest.raises(TypeError, match="group without partitions"):
            use()
    with pytest.raises(TypeError, match="the group has no partitions"):
        plain.partition_of("x")
    few = View.of("g", 1, {"a": 1}, GroupPolicy(partitions=3), "a")
    with pytest.raises(TypeError, match=r"Partition\(3\) is out of range: the group has partitions 0 to 2"):
        few.mine([key])
    assert View.of("g", 1, {"a": 1}, GroupPolicy(partitions=4), "a").mine([key]) == [key]


def test_numbers_below_0_are_out_of_range() -> None:
    """They count from no end."""
    with pytest.raises(TypeError, match=r"Partition\(-1\) is out of range"):
        View.of("g", 1, {"a": 1}, GroupPolicy(partitions=3), "a").owner(Partition(-1))


def test_a_partition_is_no_part_of_a_key() -> None:
    """A tuple with one would look like a partition and be hashed."""
    with pytest.raises(TypeError, match=r"int\(partition\)"):
        encode(("orders", Partition(3)))


def test_no_other_key_is_a_partition() -> None:
    """Neither its number nor the bytes of its key; in a dict of keys each has a place of its own."""
    key = encode(Partition(3))
    others = [encode(3), encode("3"), encode(bytes(key)), encode(bytes(key).decode())]
    assert key not in others
    assert others[-1] != key
    assert len({key, *others}) == 3
    assert key == encode(Named.THIRD)
    view = View.of("g", 1, equal(3), GroupPolicy(partitions=24), min(equal(3)))
    mixed: list[Any] = [*partitions(24), *range(24), *map(str, range(24)), b"x"]
    assert view.mine(mixed) == [each for each in mixed if view.owns(view.member_id, each)]
    assert view.mine(partitions(24)) == [each for each in partitions(24) if view.owner(each) == view.member_id]
