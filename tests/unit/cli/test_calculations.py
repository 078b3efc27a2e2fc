"""What the command line calculates from a group's members: fair shares, plans, owners, keys."""

import pytest

from aiopartition import ConfigurationError, GroupPolicy, OwnershipUnknownError, View, partitions
from aiopartition.cli.audit import keys_of
from aiopartition.cli.balance import Balance, fair_shares, least_possible
from aiopartition.cli.owner import find_owners
from aiopartition.cli.plan import changed_weights, flows, plan_change
from aiopartition.cli.snapshot import Snapshot
from aiopartition.group.entry import Entry

SMALL = GroupPolicy(slots=64, vnodes=16)


def view(weights: dict[str, int], policy: GroupPolicy = SMALL) -> View:
    return View.of("g", 7, weights, policy, "")


def snapshot(weights: dict[str, int], policy: GroupPolicy = SMALL) -> Snapshot:
    names = frozenset(Entry(each, weight, 1, "0" * 16).name for each, weight in weights.items())
    return Snapshot.of("g", policy, 7, names, None)


class TestFairShares:
    def test_are_by_weight(self) -> None:
        assert fair_shares(view({"a": 1, "b": 3, "drained": 0})) == {"a": 0.25, "b": 0.75, "drained": 0.0}

    def test_no_member_has_a_key_twice(self) -> None:
        """With two owners for each key the heavy one has every key, and the others share the rest."""
        shares = fair_shares(view({"a": 1, "b": 1, "heavy": 8}, GroupPolicy(slots=64, vnodes=16, replicas=2)))
        assert shares == {"a": 0.5, "b": 0.5, "heavy": 1.0}

    def test_fewer_members_than_replicas(self) -> None:
        shares = fair_shares(view({"a": 1, "b": 5}, GroupPolicy(slots=64, vnodes=16, replicas=3)))
        assert shares == {"a": 1.0, "b": 1.0}

    def test_balance_leaves_out_the_drained(self) -> None:
        """24 partitions over three members come out even."""
        even = Balance.of(view({"a": 1, "b": 1, "c": 1, "drained": 0}, GroupPolicy(partitions=24)))
        assert (even.least, even.greatest) == (1.0, 1.0)


class TestPlan:
    def test_what_moves_is_what_flows(self) -> None:
        plan = plan_change(snapshot({"a": 1, "b": 1}), ["c"], [], [])
        assert plan.moved == pytest.approx(sum(flow.share for flow in flows(plan.before, plan.after)))
        assert 0 < plan.least <= plan.moved
        assert plan.least == pytest.approx(plan.after.shares()["c"])

    @pytest.mark.parametrize(
        "policy", [SMALL, GroupPolicy(partitions=12), GroupPolicy(slots=64, vnodes=16, replicas=2)]
    )
    def test_it_is_what_happens(self, policy: GroupPolicy) -> None:
        """The plan foretells the view that the members will have."""
        plan = plan_change(snapshot({"a": 1, "b": 2, "c": 1}, policy), ["d:3"], ["a"], ["b:1"])
        foreseen = view({"b": 1, "c": 1, "d": 3}, policy)
        assert plan.after == foreseen
        gained: dict[str, float] = dict.fromkeys("abcd", 0.0)
        for flow in flows(plan.before, plan.after):
            assert flow.source is not None
            assert flow.target is not None
            gained[flow.target] += flow.share
            gained[flow.source] -= flow.share
        before, after = plan.before.shares(), foreseen.shares()
        for each, change in gained.items():
            assert change == pytest.approx(after.get(each, 0.0) - before.get(each, 0.0))

    def test_copies_without_an_owner(self) -> None:
        """Of two replicas the one member had one; the second comes from nobody."""
        policy = GroupPolicy(slots=64, vnodes=16, replicas=2)
        [flow] = flows(view({"a": 1}, policy), view({"a": 1, "b": 1}, policy))
        assert (flow.source, flow.target, flow.share) == (None, "b", 1.0)
        [flow] = flows(view({"a": 1, "b": 1}, policy), view({"a": 1}, policy))
        assert (flow.source, flow.target, flow.share) == ("b", None, 1.0)

    def test_the_weight_follows_the_last_colon(self) -> None:
        weights = changed_weights({"x": 1}, ["host:80:2", "host:a", "plain"], [], ["x:0"])
        assert weights == {"x": 0, "host:80": 2, "host:a": 1, "plain": 1}

    @pytest.mark.parametrize(
        ("add", "remove", "weight", "part"),
        [
            ([], [], [], "plan"),
            (["a"], [], [], "--add"),
            ([""], [], [], "--add"),
            ([":3"], [], [], "--add"),
            (["new", "new:2"], [], [], "--add"),
            (["n:1001"], [], [], "--add"),
            (["n" * 1025], [], [], "--add"),
            ([], ["nobody"], [], "--remove"),
            ([], ["a", "a"], [], "--remove"),
            ([], [], ["a"], "--weight"),
            ([], [], ["a:"], "--weight"),
            ([], [], ["a:-1"], "--weight"),
            ([], [], ["nobody:1"], "--weight"),
            ([], ["a"], ["a:1"], "--weight"),
            ([], ["b"], ["a:0"], "plan"),
        ],
    )
    def test_changes_that_cannot_be_made(self, add: list[str], remove: list[str], weight: list[str], part: str) -> None:
        with pytest.raises(ConfigurationError) as refused:
            changed_weights({"a": 1, "b": 1}, add, remove, weight)
        assert refused.value.part == part

    def test_a_member_may_be_replaced(self) -> None:
        assert changed_weights({"a": 1, "b": 1}, ["a:5"], ["a"], []) == {"a": 5, "b": 1}

    def test_nobody_owns_anything(self) -> None:
        with pytest.raises(OwnershipUnknownError, match="no member has a weight above 0"):
            plan_change(snapshot({"a": 0}), ["b"], [], [])


class TestOwner:
    def test_is_the_views(self) -> None:
        found = find_owners(snapshot({"a": 1, "b": 1}), ["x", "7", "é"], partitions=False)
        seen = view({"a": 1, "b": 1})
        assert [line.owners for line in found.keys] == [seen.owners("x"), seen.owners(7), seen.owners("é")]
        assert all(line.hash is not None and line.hash >> 58 == line.slot for line in found.keys)

    def test_bytes_that_are_no_text(self) -> None:
        [line] = find_owners(snapshot({"a": 1, "b": 1}), ["\udcff"], partitions=False).keys
        assert line.owners == view({"a": 1, "b": 1}).owners(b"\xff")

    def test_partitions(self) -> None:
        policy = GroupPolicy(partitions=12)
        group = snapshot({"a": 1, "b": 1}, policy)
        seen = view({"a": 1, "b": 1}, policy)
        found = find_owners(group, [str(each) for each in range(12)], partitions=True)
        assert [line.owners for line in found.keys] == [seen.owners(each) for each in partitions(12)]
        [line] = find_owners(group, ["x"], partitions=False).keys
        assert (line.partition, line.owners) == (seen.partition_of("x"), seen.owners("x"))

    @pytest.mark.parametrize("number", ["12", "-1", "1.0", "", "٣"])
    def test_no_such_partition(self, number: str) -> None:
        with pytest.raises(ConfigurationError, match="the group has partitions 0 to 11"):
            find_owners(snapshot({"a": 1}, GroupPolicy(partitions=12)), [number], partitions=True)

    def test_a_group_without_partitions(self) -> None:
        with pytest.raises(ConfigurationError, match="without partitions"):
            find_owners(snapshot({"a": 1}), ["1"], partitions=True)

    def test_a_group_without_members(self) -> None:
        with pytest.raises(OwnershipUnknownError, match="no members"):
            find_owners(snapshot({}), ["1"], partitions=False)


def test_least_possible() -> None:
    """What each gains has to come from somewhere."""
    assert least_possible({"a": 0.5, "b": 0.5}, {"b": 0.25, "c": 0.75}) == 0.75
    assert least_possible({"a": 1.0}, {"a": 1.0}) == 0.0


def test_keys_of_lines() -> None:
    assert keys_of([b"a\n", b"\n", b"b\r\n", b" c ", b"\xff"]) == [b"a", b"b", b" c ", b"\xff"]
