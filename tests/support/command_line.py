"""The command line, run as a process of its own."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jsonschema


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


async def command(*arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Ended:
    """Run ``python -m aiopartition`` to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiopartition", *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error", **(environment or {})},
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def data(*arguments: str, status: int = 0, **given: Any) -> Any:
    """Run a command with ``--json``, and return what it says, which its schema admits."""
    ended = await command(*arguments, "--json", **given)
    assert (ended.status, ended.err) == (status, "")
    document = json.loads(ended.out)
    schema = json.loads(files("aiopartition.cli").joinpath(f"schemas/{arguments[0]}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    return document
