"""The rules of the house: imports go one way, modules stay small, the map shows what is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aiopartition"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FOUNDATION = {
    "errors", "checks", "clock", "quoting", "parsing", "showing", "secret", "tls", "events", "forks", "home", "version",
}  # fmt: skip
"""What every wing may import, and what imports no wing."""

ALLOWED = {
    "placement": FOUNDATION,
    "backends": FOUNDATION | {"settings", "url", "credentials", "acl"},
    "group": FOUNDATION | {"placement", "backends"},
    "work": FOUNDATION | {"placement", "group"},
    "web": FOUNDATION | {"coordinator", "runner", "group"},
    "opentelemetry": FOUNDATION | {"coordinator", "group", "placement"},
}
"""For each wing what it may import besides itself."""

FROM_A_TEST = re.compile(r"(?:from|import) tests(?:\.\w+)*\.test_\w+|from tests(?:\.\w+)* import [^\n]*\btest_\w+")
"""An import from a test module, in programs that are texts too."""


def imported(path: Path) -> Iterator[str]:
    """The library's modules that a module imports, wherever in it; each with the packages that hold it, which are
    imported before, but for those that hold the importer too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            for length in range(2, len(parts) + 1):
                module = ".".join(parts[:length])
                holds_importer = MODULES.get(module, path).parent == path.parent and length < len(parts)
                if module in MODULES and not holds_importer:
                    yield module


GRAPH = {module: set(imported(path)) - {module} for module, path in MODULES.items()}


def test_no_import_goes_in_a_circle() -> None:
    """None that is delayed into a function, and none by way of a package either."""
    finished: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> None:
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in finished:
            path.append(module)
            for each in sorted(GRAPH[module]):
                visit(each)
            path.pop()
            finished.add(module)

    for module in GRAPH:
        visit(module)


@pytest.mark.parametrize("wing", sorted(ALLOWED))
def test_each_wing_imports_only_what_lies_below(wing: str) -> None:
    """Placement is plain calculation, backends know nothing of groups, groups nothing of the work that is done."""
    for module, imports in GRAPH.items():
        if module.split(".")[1:2] == [wing]:
            rooms = {each.split(".")[1] for each in imports}
            assert rooms <= ALLOWED[wing] | {wing}, f"{module} imports {sorted(rooms - ALLOWED[wing] - {wing})}"


def test_the_foundation_imports_no_wing() -> None:
    """Errors, checks and clocks serve everybody."""
    for room in FOUNDATION:
        imports = {each.split(".")[1] for each in GRAPH[f"aiopartition.{room}"]}
        assert imports <= FOUNDATION


def test_modules_and_the_page_that_shows_them_stay_small() -> None:
    """A module of more than 400 lines, and an overview of more than 120, are more than one idea."""
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: length for module, length in lengths.items() if length > 400} == {}
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 120


def test_the_map_names_every_module() -> None:
    """Whoever looks for a room finds it on the page."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {path.stem if path.stem != "__init__" else path.parent.name for path in MODULES.values()}
    missing = {room for room in rooms if room not in page}
    assert missing == set()


def test_no_test_module_is_another_ones_library() -> None:
    """What tests share has a module of its own, so that tests can move and be divided."""
    texts = {path.relative_to(ROOT): path.read_text() for path in sorted((ROOT / "tests").rglob("*.py"))}
    assert {path: found for path, text in texts.items() if (found := FROM_A_TEST.findall(text))} == {}
