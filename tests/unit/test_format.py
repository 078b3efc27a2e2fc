"""Format 1 as docs/reference/format-1.md writes it down for other languages: its example is what the library does."""

import ast
import json
import re
from pathlib import Path

import pytest

from aiopartition.group.entry import Entry
from aiopartition.placement.assign import build
from aiopartition.placement.keys import encode, hash_key
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.ring import points_of
from aiopartition.placement.table import Table

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "format-1.md").read_text()
WEIGHTS = {"a": 1, "b": 2, "c": 1}
POLICY = GroupPolicy(replicas=2, load_bound=1.25, slots=16, vnodes=3)


def pattern_in_text(pattern: str) -> list[tuple[str, ...]]:
    """What the groups of a pattern match, at each place; there must be one."""
    found = [match.groups() for match in re.finditer(pattern, TEXT, re.MULTILINE)]
    assert found, f"docs/reference/format-1.md has nothing like {pattern}"
    return found


@pytest.fixture(scope="module")
def table() -> Table:
    return build(WEIGHTS, POLICY)


def test_ring() -> None:
    """Every point of the example, in the order of the ring."""
    points = pattern_in_text(r"\b([0-9a-f]{16}) ([abc]-\d)\b")
    labels = [
        f"{member}-{number}" for member, count in points_of(WEIGHTS, POLICY.vnodes).items() for number in range(count)
    ]
    expected = sorted((f"{hash_key(label.encode()):016x}", label) for label in labels)
    assert points == expected


def test_ranks(table: Table) -> None:
    """The owners of each slot, at both ranks."""
    ranks = [tuple(owners.split()) for (owners,) in pattern_in_text(r"^rank \d +((?:[abc] ?){16})$")]
    assert tuple(ranks) == table.ranks


def test_keys(table: Table) -> None:
    """Key, hash, slot and owners of each of the example's resources."""
    line = r"^(\S.*?) +key ([0-9a-f]+) +hash ([0-9a-f]{16}) +slot +(\d+) +owners (.+)$"
    found = pattern_in_text(line)
    assert len(found) == 4
    for written, key, digest, slot, owners in found:
        encoded = encode(ast.literal_eval(written))
        assert (encoded.hex(), f"{hash_key(encoded):016x}") == (key, digest)
        assert (str(table.slot(encoded)), ", ".join(table.owners(encoded))) == (slot, owners)


def test_names() -> None:
    """The document and the entry that the text shows."""
    ((document,),) = pattern_in_text(r"^`(\{\"format\".*\}\})`")
    assert json.loads(document) == {"format": 1, "policy": POLICY.as_json()}
    ((name,),) = pattern_in_text(r"`(\S+;\d+;\d+;[0-9a-f]{16})`")
    assert Entry("Zürich/1", 2, 3, "00000000000000ff").name == name
