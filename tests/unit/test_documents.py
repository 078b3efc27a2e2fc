"""What the documents promise their readers about themselves: the README is short, and sentences are read once."""

import re
from pathlib import Path

import pytest

from tests.support.documents import INCLUDED, ROOT, blocks, documents

README = (ROOT / "README.md").read_text(encoding="utf-8")

UNCLEAR = (
    "none of your business",
    r"begins? from small ones",
    r"so has to do",
    r"3\.8\.0 (?:\([^)]*\) )?(?:was|were) seen",
    r"a connection that it has kept",
    r"in the middle of what must be whole",
    r"another policy takes another group",
    r"joining is only needed to say",
    r"rooms of the code",
)
"""Phrases that readers stumbled over."""


PAGE = """
```python
first = 1
```

<!-- block: not run -->
```python title="shown"
await second
```

- In a list:

    ```sh
    ls \\
        third
    ```

```
no language
```

```python
--8<-- "noxfile.py"
```
"""


def test_blocks_are_found_with_their_marks(tmp_path: Path) -> None:
    """Indented ones stand at the margin, a file stands where it is shown, and text without a language is no code."""
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert [(block.line, block.language, block.mark, block.text) for block in blocks(page)] == [
        (2, "python", "", "first = 1\n"),
        (7, "python", "not run", "await second\n"),
        (13, "sh", "", "ls \\\n    third\n"),
        (22, "python", INCLUDED, (ROOT / "noxfile.py").read_text(encoding="utf-8") + "\n"),
    ]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 160


def test_the_first_example_is_twelve_lines_and_stops_well() -> None:
    """It is a program on ``memory://``, which tests/docs runs."""
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "python")
    assert first.mark == ""
    assert len([line for line in first.text.splitlines() if line.strip()]) <= 12
    assert "stop_on_signal()" in first.text
    assert '"memory://"' in first.text


@pytest.mark.parametrize(("heading", "most"), [("| promise |", 8), ("| not promised |", 2)])
def test_promises_lead_to_what_is_behind_them(heading: str, most: int) -> None:
    """Each row of the two tables has a link."""
    table = README.partition(heading)[2].partition("\n\n")[0].splitlines()[2:]
    assert 1 <= len(table) <= most
    for row in table:
        assert re.match(r"\| \[[^\]]+\]\(docs/explanation/[\w-]+\.md#[\w-]+\) \|", row), row


@pytest.mark.parametrize("phrase", UNCLEAR)
def test_no_document_has_a_phrase_that_readers_stumble_over(phrase: str) -> None:
    pattern = re.compile(phrase.replace(" ", r"\s+"), re.IGNORECASE)
    sources = [*documents(), *(ROOT / "aiopartition").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    found = [str(path.relative_to(ROOT)) for path in sources if pattern.search(path.read_text(encoding="utf-8"))]
    assert found == []
