"""``aiopartition protect``: gives existing nodes the ACL that new ones should get. The only command that writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiopartition.acl import Acl, id_of, without_hash
from aiopartition.backends.zookeeper.backend import ZooKeeperBackend
from aiopartition.backends.zookeeper.protection import Protection
from aiopartition.cli.access import AUTH_VARIABLE, connected
from aiopartition.cli.text import Block, cell
from aiopartition.errors import BackendError, ConfigurationError
from aiopartition.settings import Settings

__all__ = ["Protected", "acl_of", "protect_nodes"]

_SHOWN: Final = 20
"""The text shows at most this many paths of each kind. JSON has all."""


@dataclass(frozen=True, slots=True)
class Protected:
    """The result of the command.

    :ivar acl: the ACL that all nodes should have.
    :ivar changed: whether ACLs were set, rather than only compared.
    """

    url: str
    acl: Acl
    changed: bool
    found: Protection

    @property
    def healthy(self) -> bool:
        return not self.found.refused and not self.found.open

    def to_json(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "members": [without_hash(each) for each in self.acl.members],
            "readers": [without_hash(each) for each in self.acl.readers],
            "changed": self.changed,
            "nodes": self.found.nodes,
            "open": self.found.open,
            "done": self.found.done,
            "refused": list(self.found.refused.values()),
        }

    def blocks(self) -> list[Block]:
        readers = ", ".join(cell(without_hash(each)) for each in self.acl.readers) or "nobody"
        members = ", ".join(cell(without_hash(each)) for each in self.acl.members)
        lines: list[Block] = [f"{self.url}: {self.found.nodes} nodes; members {members}; readers {readers}"]
        lines += _shown("set", self.found.done)
        lines += _shown("still another" if self.changed else "would be set", self.found.open)
        lines += [f"PROBLEM {cell(problem)}" for problem in self.found.refused.values()]
        if not self.changed and self.found.open:
            lines.append("nothing was changed: --yes sets the ACLs")
        if self.healthy:
            lines.append("all nodes have this ACL")
        return lines


def _shown(what: str, paths: Sequence[str]) -> list[Block]:
    lines: list[Block] = [f"{what}: {cell(path)}" for path in paths[:_SHOWN]]
    return [*lines, f"{what}: {len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else lines


def acl_of(settings: Settings, members: Sequence[str], readers: Sequence[str]) -> Acl:
    """Return the ACL that the arguments describe.

    :raises ConfigurationError: if they name no member, or an id that no server would accept.
    """
    if members:
        return Acl(tuple(members), tuple(readers))
    ours = None if settings.auth is None else id_of(settings.auth)
    if ours is None:
        raise ConfigurationError("--member", f"is needed, or the user in {AUTH_VARIABLE} with --auth-from-env")
    return Acl((ours,), tuple(readers))


async def protect_nodes(settings: Settings, acl: Acl, *, change: bool) -> Protected:
    """Set the ACLs from the namespace down, or find out which would be set.

    :param change: whether to set them.
    :raises BackendError: if the connection breaks, or the ACL would lock this client out.
    """
    async with connected(settings) as backend:
        if not isinstance(backend, ZooKeeperBackend):
            raise BackendError("this backend has no ACLs")
        found = await backend.protect(acl, change=change)
    return Protected(str(settings.url), acl, change, found)
