"""The how-tos and the examples belong together: each page names files that exist, and each example has a page."""

import re

import pytest

from tests.examples.started import EXAMPLES, ROOT

PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md")) + sorted((ROOT / "docs" / "tutorial").glob("*.md"))
NAMED = re.compile(r"examples/[\w/]+\.py")
INCLUDED = re.compile(r'--8<-- "([^"]+)"')
TWO_SCREENS = 126  # lines


def test_pages_name_files_that_exist() -> None:
    """A page that names an example that is gone sends its readers nowhere."""
    named = {(page.name, path) for page in PAGES for path in NAMED.findall(page.read_text())}
    included = {(page.name, path) for page in PAGES for path in INCLUDED.findall(page.read_text())}
    assert len(named) > len(EXAMPLES)
    assert included <= named
    assert not {(page, path) for page, path in named if not (ROOT / path).is_file()}


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_has_a_page(example: str) -> None:
    """The list of all examples names it, and leads to what it is for."""
    assert example in NAMED.findall((ROOT / "docs" / "how-to" / "index.md").read_text())


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_short(example: str) -> None:
    """An example is read in two minutes."""
    assert len((ROOT / example).read_text().splitlines()) <= TWO_SCREENS
