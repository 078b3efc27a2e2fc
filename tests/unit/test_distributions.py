"""What a package index is given: the source distribution, and the README as it is shown there."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REPOSITORY = "https://github.com/aiopartition/aiopartition"
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=[\"']([^\"']+)", re.MULTILINE)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions, built from this checkout."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def sources(built: Path) -> set[str]:
    """The paths in the source distribution."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def metadata(built: Path) -> Message:
    """What the wheel says about itself; its payload is the long description."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_command_and_its_schemas(built: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (scripts,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        assert "aiopartition = aiopartition.cli.main:main" in archive.read(scripts).decode()
    shipped = {f"aiopartition/cli/schemas/{each.name}" for each in (ROOT / "aiopartition/cli/schemas").iterdir()}
    assert len(shipped) > 5
    assert shipped <= names


def links(markdown: str) -> list[str]:
    """The targets of all links and pictures outside code."""
    return ["".join(groups) for groups in LINK.findall(CODE.sub("", markdown))]


@pytest.mark.parametrize(
    "path", ["LICENSE", "README.md", "CONTRIBUTING.md", "noxfile.py", "docs/benchmarks.svg", "tests/conftest.py"]
)
def test_sources_hold(path: str, sources: set[str]) -> None:
    assert path in sources


def test_files_that_the_readme_links_to_are_in_the_sources(sources: set[str]) -> None:
    files = {link.partition("#")[0] for link in links(README) if ":" not in link and not link.startswith("#")}
    assert "docs/benchmarks.svg" in files
    assert files <= sources


def test_links_work_where_no_file_of_ours_is(metadata: Message) -> None:
    shown = links(str(metadata.get_payload()))
    assert [link for link in shown if not link.startswith("https://")] == []
    relative = [link for link in links(README) if not link.startswith("https://")]
    assert len(relative) > 5
    for target in relative:
        assert [link for link in shown if link.endswith(target)], f"{target} was lost"


def test_the_picture_is_shown_as_a_file_and_not_as_a_page(metadata: Message) -> None:
    (picture,) = (link for link in links(str(metadata.get_payload())) if link.endswith(".svg"))
    assert picture.startswith("https://raw.githubusercontent.com/")


def test_the_project_has_addresses(metadata: Message) -> None:
    addresses = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    assert addresses["Repository"] == REPOSITORY
    assert all(address.startswith(REPOSITORY) for address in addresses.values())
    assert metadata["Author"]


def test_hooks_run_the_linter_of_the_lint_group() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (linter,) = project["dependency-groups"]["lint"]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r'"(ruff.*?)"', hooks) == [linter, linter]
