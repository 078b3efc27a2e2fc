"""Links that the builder of the site does not follow: to files of the repository, and in documents of its root."""

import re
from pathlib import Path

import pytest

from tests.support.documents import ROOT, documents

SITE = ROOT / "docs"
HERE = "https://github.com/aiopartition/aiopartition/"
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^#+ +(.+?)(?: +\{.*\})?$", re.MULTILINE)


def targets(document: Path) -> list[str]:
    """Where the links of a document go, but for those in code."""
    text = CODE.sub("", document.read_text(encoding="utf-8"))
    return ["".join(groups) for groups in LINK.findall(text)]


def anchors(document: Path) -> set[str]:
    """The names of a document's headings, as GitHub makes them."""
    headings = HEADING.findall(
        re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    )
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", documents(), ids=lambda document: str(document.relative_to(ROOT)))
def test_links_to_files_of_the_repository(document: Path) -> None:
    for target in targets(document):
        path, _, anchor = target.partition("#")
        if path.startswith(f"{HERE}blob/HEAD/"):
            file = ROOT / path.removeprefix(f"{HERE}blob/HEAD/")
        elif ":" in path:
            continue
        else:
            file = document.parent / path if path else document
        assert file.exists(), f"{target}: there is no such file"
        within_the_site = document.is_relative_to(SITE) and file.is_relative_to(SITE)  # which the builder follows
        if anchor and file.suffix == ".md" and not within_the_site:
            assert anchor in anchors(file), f"{target}: {file.name} has no such heading"
