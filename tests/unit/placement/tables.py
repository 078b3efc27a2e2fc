"""What a table says, in full and in short, and ids of members to make it of."""

import hashlib

from aiopartition.placement.table import Table


def owners_by_slot(table: Table) -> list[list[str]]:
    return [list(row) for row in zip(*table.ranks, strict=True)]


def fingerprint(table: Table) -> str:
    text = "\n".join(",".join(row) for row in owners_by_slot(table))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def agents(count: int, name: str = "agent") -> list[str]:
    return [f"{name}-{number}" for number in range(count)]
