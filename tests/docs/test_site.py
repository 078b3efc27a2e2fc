"""The site as it was built, by the command that ``nox -s docs`` runs first."""

import re
import zlib

import pytest

import aiopartition
import aiopartition.testing
from tests.support.documents import ROOT

SITE = ROOT / "build" / "site"
PAGES = sorted(SITE.rglob("*.html"))


def inventory() -> set[str]:
    """What the reference describes, by the index that other projects' documentation would read."""
    content = (SITE / "objects.inv").read_bytes()
    return {line.split()[0] for line in zlib.decompress(content.split(b"\n", 4)[4]).decode().splitlines()}


@pytest.mark.parametrize("module", [aiopartition, aiopartition.testing], ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(module: object) -> None:
    described = inventory()
    missing = [name for name in module.__all__ if f"{module.__name__}.{name}" not in described]  # type: ignore[attr-defined]
    assert not missing


def test_the_reference_has_every_public_call() -> None:
    described = inventory()
    for owner in (aiopartition.PartitionCoordinator, aiopartition.View, aiopartition.testing.PartitionCluster):
        module = "aiopartition.testing" if "testing" in owner.__module__ else "aiopartition"
        calls = [name for name in dir(owner) if not name.startswith("_")]
        assert not [name for name in calls if f"{module}.{owner.__name__}.{name}" not in described]


def test_the_browser_loads_nothing_from_elsewhere() -> None:
    loads = re.compile(
        r'<(?:script|img|iframe)[^>]+src="?(?:https?:)?//[^>]+>|<link[^>]+stylesheet[^>]+(?:https?:)?//[^>]+>'
    )
    assert len(PAGES) > 10
    for page in PAGES:
        assert not loads.search(page.read_text(encoding="utf-8")), page


def test_no_role_or_reference_is_left_unresolved() -> None:
    """What Sphinx would have resolved, and what the builder leaves as text."""
    left = re.compile(r":(?:attr|class|exc|func|meth|mod):|\]\[aiopartition")
    for page in PAGES:
        assert not left.search(page.read_text(encoding="utf-8")), page
