"""Every block of code in the documents does what a reader does with it: it runs, or it is at least well-formed.

A Python block is a program, unless a comment on the line above it says otherwise:

* ``<!-- block: in a coroutine -->``: it runs where ``coordinator`` is started on ``memory://`` and all public names are
  imported, as are those of the blocks above it on that page that are marked alike;
* ``<!-- block: not run -->``: it needs what is not here, such as a server. It is compiled.

A block that shows a file of the repository is compiled too; the file has tests of its own.

A program with ``stop_on_signal()`` runs until it has printed a line, and then has to stop in good order at SIGTERM. One
with tests is given to pytest. Any other has to end by itself, with status 0.
"""

import ast
import asyncio
import inspect
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import aiopartition
from tests.support.documents import INCLUDED, ROOT, Block, blocks, documents

ALL = [block for document in documents() for block in blocks(document)]
IN_A_COROUTINE = "in a coroutine"
NOT_RUN = "not run"
PATIENCE = 30.0
"""Seconds after which a program that neither prints nor ends is ended; nothing is decided by it."""

TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def chosen(*languages: str, mark: str | None = None) -> pytest.MarkDecorator:
    """The blocks in these languages, each a test of its own."""
    these = [block for block in ALL if block.language in languages and mark in (None, block.mark)]
    return pytest.mark.parametrize("block", [pytest.param(block, id=str(block)) for block in these])


def compiled(block: Block) -> Any:
    """The code of a block, which may await at its top."""
    return compile("\n" * block.line + block.text, str(block.document), "exec", flags=TOP_LEVEL_AWAIT)


@chosen("python", "py")
def test_python_is_well_formed(block: Block) -> None:
    assert block.mark in ("", INCLUDED, IN_A_COROUTINE, NOT_RUN), f"no such mark: {block.mark}"
    compiled(block)


@chosen("python", "py", mark="")
def test_programs_run(block: Block, tmp_path: Path) -> None:
    program = tmp_path / "test_block.py"
    program.write_text(block.text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with_pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider") if "def test_" in block.text else ()
    started = subprocess.Popen(
        [sys.executable, *with_pytest, str(program)],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        if "stop_on_signal()" in block.text:
            assert started.stdout is not None
            first = started.stdout.readline()
            started.terminate()
            output, _ = started.communicate(timeout=PATIENCE)
            assert started.returncode == 128 + signal.SIGTERM, first + output
        else:
            output, _ = started.communicate(timeout=PATIENCE)
            assert started.returncode == 0, output
    finally:
        started.kill()
        started.communicate()


@pytest.mark.parametrize("document", documents(), ids=lambda document: str(document.relative_to(ROOT)))
def test_fragments_run_in_a_coroutine(document: Path) -> None:
    """Those of one page one after another, as a reader would try them."""
    fragments = [block for block in blocks(document) if block.mark == IN_A_COROUTINE]

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), aiopartition.PartitionCoordinator("memory://") as coordinator:
            names: dict[str, Any] = {name: getattr(aiopartition, name) for name in aiopartition.__all__}
            names |= {"asyncio": asyncio, "coordinator": coordinator}
            for block in fragments:
                result = eval(compiled(block), names)
                if inspect.isawaitable(result):
                    await result

    if fragments:
        asyncio.run(main())


READERS: dict[str, Callable[[str], Any]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}


@chosen(*READERS)
def test_data_is_well_formed(block: Block) -> None:
    READERS[block.language](block.text)


@chosen("sh", "bash")
def test_commands_are_well_formed(block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
