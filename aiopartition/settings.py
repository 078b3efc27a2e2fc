"""What a user may configure: validated once, frozen from then on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from ssl import SSLContext
from typing import Any, Literal, TypeAlias, cast, get_args

from aiopartition.checks import (
    parse_number,
    require_auth,
    require_id,
    require_integer,
    require_metadata,
    require_number,
    require_ssl,
    shown,
)
from aiopartition.errors import ConfigurationError
from aiopartition.url import URL_OPTIONS, Url, parse_url

__all__ = ["GroupPolicy", "OnUnknown", "Settings", "Terms", "arguments_from_environment", "require_policy"]

OnUnknown: TypeAlias = Literal["empty", "raise"]


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How a group places keys. All members must agree; the first one writes it into the group.

    :param replicas: how many members own each key, 1 to 16. With fewer members than that, all of them do.
    :param load_bound: how far above its fair share of slots a member may go, 1.0 to 2.0 (1.08 is 8 % above).
        Tighter is more even, but moves more keys with each change: 1.05 up to 1.3 times what has to move.
    :param slots: hash buckets, a power of two from 16 to 65,536.
    :param vnodes: points on the ring for each unit of weight, 1 to 1,000.
    :param exclusive: no key is ever owned by two members: who gains a key takes it up when who had it has let go. Only
        with one replica.
    """

    replicas: int = 1
    load_bound: float = 1.08
    slots: int = 16384
    vnodes: int = 160
    exclusive: bool = False

    def __post_init__(self) -> None:
        require_integer("replicas", self.replicas, 1, 16)
        require_number("load_bound", self.load_bound, 1.0, 2.0)
        require_integer("slots", self.slots, 16, 65_536)
        if self.slots & (self.slots - 1):
            raise ConfigurationError("slots", f"must be a power of two, not {self.slots}")
        require_integer("vnodes", self.vnodes, 1, 1_000)
        object.__setattr__(self, "load_bound", float(self.load_bound))
        if not isinstance(cast("object", self.exclusive), bool):
            raise ConfigurationError("exclusive", f"must be a bool, not {shown(self.exclusive)}")
        if self.exclusive and self.replicas > 1:
            raise ConfigurationError("exclusive", f"means one owner for each key, and replicas is {self.replicas}")

    def differences(self, other: GroupPolicy) -> dict[str, tuple[int | float, int | float]]:
        """The fields that differ, each with this policy's value and the other's."""
        ours, theirs = asdict(self), asdict(other)
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    def as_json(self) -> dict[str, int | float]:
        """The fields as they stand in a group's node.

        Those that later versions add must be left out while they have their default: a field that a member does not
        know is a difference to it, and members of two versions meet in every rolling upgrade.
        """
        stored = asdict(self)
        if not self.exclusive:
            del stored["exclusive"]
        return stored


@dataclass(frozen=True, slots=True)
class Terms:
    """What one member joins a group with, validated; the fields as ``join_group`` describes them."""

    weight: int = 1
    policy: GroupPolicy = GroupPolicy()
    min_members: int = 1
    settle: float = 0.05


@dataclass(frozen=True, slots=True)
class Settings:
    """A coordinator's arguments, validated, with the URL's options and the defaults filled in."""

    url: Url | None
    member_id: str
    member_id_is_drawn: bool
    """Whether nobody gave the id, so that it was drawn at random."""
    heartbeat: float
    session_timeout: float
    connect_timeout: float
    on_unknown: OnUnknown
    ssl: SSLContext | None = field(repr=False)
    auth: tuple[str, str] | None = field(repr=False)
    metadata: Mapping[str, str]

    @classmethod
    def resolve(
        cls,
        backend_url: str | None,
        *,
        member_id: str | None = None,
        heartbeat: float | None = None,
        session_timeout: float | None = None,
        connect_timeout: float | None = None,
        on_unknown: str = "empty",
        ssl: SSLContext | None = None,
        auth: tuple[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Settings:
        """Validate everything, or raise :class:`ConfigurationError` that names the offending part.

        A keyword beats the same URL option; ``None`` stands for "not given".
        """
        url = None if backend_url is None else parse_url(backend_url)
        options: Mapping[str, float] = {} if url is None else url.options

        def seconds(name: str, given: float | None, default: float) -> float:
            value = given if given is not None else options.get(name, default)
            return require_number(name, value, 0.001, 1_000_000.0)

        if on_unknown not in get_args(OnUnknown):
            raise ConfigurationError("on_unknown", f"must be 'empty' or 'raise', not {on_unknown!r}")
        if url is not None and url.scheme == "memory" and (ssl is not None or auth is not None):
            raise ConfigurationError("ssl" if ssl is not None else "auth", "memory:// has no connection to protect")
        return cls(
            url=url,
            member_id=str(uuid.uuid4()) if member_id is None else require_id("member_id", member_id),
            member_id_is_drawn=member_id is None,
            heartbeat=seconds("heartbeat", heartbeat, 1.0),
            session_timeout=seconds("session_timeout", session_timeout, 10.0),
            connect_timeout=seconds("connect_timeout", connect_timeout, 10.0),
            on_unknown=cast(OnUnknown, on_unknown),
            ssl=require_ssl(ssl),
            auth=require_auth(auth) if auth is not None else (None if url is None else url.auth),
            metadata=require_metadata(metadata),
        )

    def with_another_id(self) -> Settings:
        """The same for another process, if the id was only drawn for this one."""
        return replace(self, member_id=str(uuid.uuid4())) if self.member_id_is_drawn else self


def arguments_from_environment(prefix: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a coordinator that ``environment`` holds: ``<prefix>BACKEND_URL``, ``<prefix>MEMBER_ID``,
    ``<prefix>HEARTBEAT``, ``<prefix>SESSION_TIMEOUT``, ``<prefix>CONNECT_TIMEOUT`` (seconds), ``<prefix>ON_UNKNOWN``
    and ``<prefix>AUTH`` (``user:password``). Other variables are left alone, an empty one counts as not set.
    """
    arguments: dict[str, Any] = {}
    for name in ("backend_url", "member_id", "heartbeat", "session_timeout", "connect_timeout", "on_unknown", "auth"):
        variable = prefix + name.upper()
        text = environment.get(variable, "")
        if not text:
            continue
        if name in URL_OPTIONS:
            arguments[name] = parse_number(variable, text)
        elif name == "auth":
            user, colon, password = text.partition(":")
            if not colon:
                raise ConfigurationError(variable, "must be user:password")
            arguments[name] = (user, password)
        else:
            arguments[name] = text
    return arguments


def require_policy(value: object) -> GroupPolicy:
    """``value`` when it is a policy, the default one for ``None``, else :class:`ConfigurationError`."""
    if value is None:
        return GroupPolicy()
    if not isinstance(value, GroupPolicy):
        raise ConfigurationError("policy", f"must be a GroupPolicy, not {type(value).__name__}")
    return value
