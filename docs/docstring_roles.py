"""Shows the library's docstrings, whose roles are Sphinx's, as Markdown: an extension for griffe."""

from __future__ import annotations

import inspect
import re
from typing import Any

from griffe import Extension, Object

import aiopartition
import aiopartition.testing

ROLE = re.compile(r":(attr|class|exc|func|meth|mod):`~?([\w.]+)`")
LITERAL = re.compile(r"(\S?)::\n\n((?:    .*\n|\n)+)")
SESSION = re.compile(r"^(?:>>>|\.\.\.) .*(?:\n(?:>>>|\.\.\.).*)*", re.MULTILINE)


def public_names() -> dict[str, str]:
    """Where each public name, and each member of a public class, stands in the reference; the first one that has it."""
    found: dict[str, str] = {}
    for module in (aiopartition, aiopartition.testing):
        for name in module.__all__:
            found[name] = f"{module.__name__}.{name}"
    # These two have the calls that docstrings name without their class.
    for owner in (aiopartition.PartitionCoordinator, aiopartition.testing.PartitionCluster, aiopartition.View):
        for name, _ in inspect.getmembers(owner):
            if not name.startswith("_"):
                found[f"{owner.__name__}.{name}"] = f"{found[owner.__name__]}.{name}"
    return found


NAMES = public_names()


def linked(kind: str, target: str, owner: str) -> str:
    """A link to a public name, as seen from a class; text if there is nothing to link to, as for ``asyncio``'s."""
    call = "()" if kind in {"func", "meth"} else ""
    short = target.removeprefix("aiopartition.testing.").removeprefix("aiopartition.")
    path = NAMES.get(f"{owner}.{short}") or NAMES.get(short)
    return f"[`{short}{call}`][{path}]" if path else f"`{target}{call}`"


def fenced(literal: re.Match[str]) -> str:
    """A literal block after a paragraph, or one that stands by itself, which is a drawing."""
    block = inspect.cleandoc("\n" + literal[2])
    return f"{literal[1]}:\n\n```python\n{block}\n```\n\n" if literal[1] else f"```text\n{block}\n```\n\n"


def as_markdown(text: str, owner: str) -> str:
    """A docstring with links for roles, and fences around examples."""
    text = LITERAL.sub(fenced, text + "\n")
    text = SESSION.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
    return ROLE.sub(lambda found: linked(found[1], found[2], owner), text).rstrip()


class Roles(Extension):
    """Rewrites each docstring once, before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is None:
            return
        owner = obj.parent.name if obj.parent is not None and obj.parent.is_class else obj.name
        if owner in {"Share", "Lifecycle"}:  # which a reader knows as the coordinator
            owner = "PartitionCoordinator"
        obj.docstring.value = as_markdown(obj.docstring.value, owner)
