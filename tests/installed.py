"""Checks an installation, not a checkout: run by the Python that it was installed for, from another directory."""

import asyncio
import re
import sysconfig
from importlib.metadata import distributions, requires
from pathlib import Path

import aiopartition

HARD_DEPENDENCIES = {"aiozk", "anyio", "uhashring", "xxhash"}
INSTALLERS = {"pip", "setuptools", "wheel"}


def requirements(distribution: str) -> set[str]:
    """The distributions that one needs, extras left out."""
    needed = (line for line in requires(distribution) or () if "extra ==" not in line)
    return {normal(match[0]) for line in needed if (match := re.match(r"[\w.-]+", line))}


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


async def partition() -> list[int]:
    """One member of a group on the embedded backend: everything is its own."""
    async with aiopartition.PartitionCoordinator("memory://installed") as coordinator:
        return await coordinator.extract_my_subset("numbers", range(10))


def main() -> None:
    """Fail if the installation is not what it should be."""
    package = Path(aiopartition.__file__).parent
    assert package.parent == Path(sysconfig.get_path("purelib")), f"{package} is not the installed one"
    assert (package / "py.typed").exists(), "type checkers would ignore the annotations"

    installed = {normal(distribution.name) for distribution in distributions()}
    assert requirements("aiopartition") == HARD_DEPENDENCIES
    wanted, found = {"aiopartition"}, set[str]()
    while wanted:
        found |= wanted
        wanted = set[str]().union(*map(requirements, wanted)) & installed - found
    assert installed - INSTALLERS == found, f"nobody needs {installed - INSTALLERS - found}"

    assert asyncio.run(partition()) == list(range(10))
    print(f"aiopartition {aiopartition.__version__} with {', '.join(sorted(found - {'aiopartition'}))}")


if __name__ == "__main__":
    main()
