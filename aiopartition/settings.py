"""What a user may configure: validated once, frozen from then on."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from ssl import SSLContext
from typing import Any, Final, Literal, TypeAlias, cast, get_args
from urllib.parse import parse_qsl, quote, unquote

from aiopartition.errors import ConfigurationError

__all__ = [
    "MAX_WEIGHT",
    "GroupPolicy",
    "OnUnknown",
    "Settings",
    "Url",
    "arguments_from_environment",
    "parse_url",
    "require_id",
    "require_min_members",
    "require_policy",
    "require_run_arguments",
    "require_seconds",
    "require_settle",
    "require_weight",
]

OnUnknown: TypeAlias = Literal["empty", "raise"]

MAX_WEIGHT: Final = 1_000
"""Weights are multiples of ``vnodes`` points on every member's ring: beyond this they only cost."""

MAX_ID_BYTES: Final = 1_024
"""Ids stand in the names of nodes, and a server sends at most 1 MB of names at once."""

MAX_METADATA: Final = 16_384
"""Characters. It is stored with each entry, and a server takes at most 1 MB at once."""

_NOT_IN_PATHS: Final = re.compile("[\0-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]")

_NOT_TEXT: Final = "bytes that are not UTF-8, percent-encoded or not"

DEFAULT_PORT: Final = 2181
DEFAULT_NAMESPACE: Final = "/aiopartition"
URL_OPTIONS: Final = ("session_timeout", "connect_timeout", "heartbeat")


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
        _require_integer("replicas", self.replicas, 1, 16)
        _require_number("load_bound", self.load_bound, 1.0, 2.0)
        _require_integer("slots", self.slots, 16, 65_536)
        if self.slots & (self.slots - 1):
            raise ConfigurationError("slots", f"must be a power of two, not {self.slots}")
        _require_integer("vnodes", self.vnodes, 1, 1_000)
        object.__setattr__(self, "load_bound", float(self.load_bound))
        if not isinstance(cast("object", self.exclusive), bool):
            raise ConfigurationError("exclusive", f"must be a bool, not {_shown(self.exclusive)}")
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
class Url:
    """A backend URL, taken apart. ``auth`` never shows in a repr."""

    scheme: Literal["zookeeper", "memory"]
    hosts: tuple[tuple[str, int], ...] = ()
    namespace: str = DEFAULT_NAMESPACE
    cluster: str = ""
    auth: tuple[str, str] | None = field(default=None, repr=False)
    options: Mapping[str, float] = field(default_factory=dict[str, float])

    def __str__(self) -> str:
        """The URL without its credentials, fit for logs."""
        if self.scheme == "memory":
            return f"memory://{quote(self.cluster, safe='')}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"zookeeper://{hosts}{quote(self.namespace, safe='/')}"


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
            return _require_number(name, value, 0.001, 1_000_000.0)

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
            ssl=_require_ssl(ssl),
            auth=_require_auth(auth) if auth is not None else (None if url is None else url.auth),
            metadata=_require_metadata(metadata),
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
            arguments[name] = _parse_number(variable, text)
        elif name == "auth":
            user, colon, password = text.partition(":")
            if not colon:
                raise ConfigurationError(variable, "must be user:password")
            arguments[name] = (user, password)
        else:
            arguments[name] = text
    return arguments


def require_id(what: str, value: object) -> str:
    """``value`` when it can name a member or a group, else :class:`ConfigurationError`."""
    if not isinstance(value, str):
        raise ConfigurationError(what, f"must be a str, not {type(value).__name__}")
    if not value:
        raise ConfigurationError(what, "must not be empty")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise ConfigurationError(what, f"must be at most {MAX_ID_BYTES} bytes of UTF-8, not {len(value)} characters")
    return value


def require_weight(value: object) -> int:
    """``value`` when it is a weight, else :class:`ConfigurationError`."""
    return _require_integer("weight", value, 1, MAX_WEIGHT)


def require_min_members(value: object) -> int:
    """``value`` when it is a number of members to wait for, else :class:`ConfigurationError`."""
    return _require_integer("min_members", value, 1, 1_000_000)


def require_policy(value: object) -> GroupPolicy:
    """``value`` when it is a policy, the default one for ``None``, else :class:`ConfigurationError`."""
    if value is None:
        return GroupPolicy()
    if not isinstance(value, GroupPolicy):
        raise ConfigurationError("policy", f"must be a GroupPolicy, not {type(value).__name__}")
    return value


def require_seconds(part: str, value: object) -> float:
    return _require_number(part, value, 0.0, 1e9)


def require_run_arguments(refresh: object, drain_timeout: object, on_error: object) -> None:
    if require_seconds("refresh", refresh) == 0:
        raise ConfigurationError("refresh", "must be more than 0 seconds")
    require_seconds("drain_timeout", drain_timeout)
    if on_error not in ("restart", "raise"):
        raise ConfigurationError("on_error", f"must be 'restart' or 'raise', not {_shown(on_error)}")


def require_settle(value: object) -> float:
    """``value`` when it is a settling time in seconds, else :class:`ConfigurationError`."""
    return _require_number("settle", value, 0.0, 3_600.0)


def parse_url(text: object) -> Url:
    """Take a backend URL apart.

    :raises ConfigurationError: naming the part that is wrong. Nothing that may be a password is ever quoted.
    """
    if not isinstance(text, str):
        raise ConfigurationError("backend_url", f"must be a str or None, not {type(text).__name__}")
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ConfigurationError("backend_url", "must look like zookeeper://host:port/namespace or memory://name")
    if scheme not in ("zookeeper", "memory"):
        # What stands before :// of a URL without a scheme could be anything, credentials included.
        named = repr(scheme) if scheme.isalnum() and len(scheme) <= 20 else "that"
        raise ConfigurationError("backend_url scheme", f"{named} is not known, only zookeeper:// and memory:// are")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if "@" in path or "@" in query:
        raise ConfigurationError(
            "backend_url credentials", "'/', '?' and '@' in a user or password must be percent-encoded"
        )
    credentials, at, hosts = authority.rpartition("@")
    if "#" in hosts + path + query or "@" in credentials:
        raise ConfigurationError("backend_url", "'#' and '@' must be percent-encoded")
    options = _parse_options(query)
    if scheme == "memory":
        if at or slash:
            raise ConfigurationError("backend_url", "memory:// takes a name and options, nothing else")
        return Url("memory", cluster=_decode("backend_url", hosts), options=options)
    return Url(
        "zookeeper",
        hosts=tuple(_parse_host(item, number) for number, item in enumerate(hosts.split(","), start=1)),
        namespace=_parse_namespace(path),
        auth=_parse_credentials(credentials) if at else None,
        options=options,
    )


def _parse_options(query: str) -> dict[str, float]:
    options: dict[str, float] = {}
    for number, (name, value) in enumerate(parse_qsl(query, keep_blank_values=True), start=1):
        # Only what was certainly meant as an option is quoted: a password with a question mark in it may end up here.
        known = name in URL_OPTIONS or get_close_matches(name.lower(), URL_OPTIONS, cutoff=0.75)
        part = f"backend_url option {repr(name) if known else number}"
        if name not in URL_OPTIONS:
            raise ConfigurationError(part, f"is not known, only {', '.join(URL_OPTIONS)} are")
        if name in options:
            raise ConfigurationError(part, "is given twice")
        options[name] = _parse_number(part, value)
    return options


def _parse_credentials(text: str) -> tuple[str, str]:
    part = "backend_url credentials"
    user, colon, password = text.partition(":")
    if not colon:
        raise ConfigurationError(part, "must be user:password")
    return _require_auth((_decode(part, user), _decode(part, password)), part)


def _parse_host(text: str, number: int) -> tuple[str, int]:
    # Nothing is quoted: in a URL that lacks a host, what stands here is a user and a password. ``number`` must do.
    part = "backend_url host"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_ipv6(host):
            raise ConfigurationError(part, "brackets must hold an IPv6 address, and only :port may follow")
        port = rest[1:] if rest else str(DEFAULT_PORT)
    else:
        host, colon, port = text.partition(":")
        if ":" in port:
            raise ConfigurationError(part, "has several colons: an IPv6 address goes in brackets")
        if not host:
            raise ConfigurationError(part, "is empty; hosts are separated by one comma")
        if not all(character.isalnum() or character in "-._" for character in host):
            raise ConfigurationError(part, "has a character that no host name has")
        port = port if colon else str(DEFAULT_PORT)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535):
        raise ConfigurationError("backend_url port", f"that of host {number} must be a number from 1 to 65535")
    return host, int(port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _parse_namespace(path: str) -> str:
    """The namespace as ZooKeeper wants its paths: no empty, ``.`` or ``..`` segment, no control character."""
    if not path.strip("/"):
        return DEFAULT_NAMESPACE
    # No segment is quoted: a password with a slash in it may end up here.
    part = "backend_url namespace"
    segments = [_decode(part, segment) for segment in path.removesuffix("/").split("/")]
    for number, segment in enumerate(segments, start=1):
        if segment in ("", ".", "..") or "/" in segment:
            raise ConfigurationError(part, f"segment {number} must not be empty, '.' or '..', nor have a '/' in it")
        foreign = _NOT_IN_PATHS.search(segment)
        if foreign is not None:
            raise ConfigurationError(part, f"segment {number} has {foreign[0]!r}, which ZooKeeper takes in no path")
    if segments[0] == "zookeeper":
        raise ConfigurationError(part, "/zookeeper is reserved by ZooKeeper")
    return "/" + "/".join(segments)


def _decode(part: str, text: str) -> str:
    with suppress(UnicodeError):
        decoded = unquote(text, errors="strict")
        decoded.encode()
        return decoded
    # Not raised while that error is handled: it holds the text, which may be a secret, and would be its context.
    raise ConfigurationError(part, f"has {_NOT_TEXT}")


def _parse_number(part: str, text: str) -> float:
    # float() alone takes spellings that nobody means: digit groups, other scripts' digits, "infinity".
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{0,20})?", text) is None:
        raise ConfigurationError(part, f"must be a number of seconds, not {_shown(text)}")
    return float(text)


def _shown(value: object) -> str:
    """``value`` in a message: short, and whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python cares to write
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _require_integer(part: str, value: object, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(part, f"must be an int, not {_shown(value)}")
    if not lowest <= value <= highest:
        raise ConfigurationError(part, f"must be between {lowest} and {highest}, not {_shown(value)}")
    return value


def _require_number(part: str, value: object, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(part, f"must be a number, not {_shown(value)}")
    if not lowest <= value <= highest:  # as no NaN is
        raise ConfigurationError(part, f"must be between {lowest:g} and {highest:g}, not {_shown(value)}")
    return float(value)


def _require_ssl(value: object) -> SSLContext | None:
    if value is None or isinstance(value, SSLContext):
        return value
    raise ConfigurationError("ssl", f"must be an ssl.SSLContext, not {type(value).__name__}")


def _require_auth(auth: object, part: str = "auth") -> tuple[str, str]:
    # The value itself is never quoted: it is a secret.
    match auth:
        case (str(user), str(password)):
            pass
        case _:
            raise ConfigurationError(part, "must be a pair of str: user and password")
    if not user or ":" in user:
        raise ConfigurationError(part, "the user must not be empty and must not contain ':'")
    return user, password


def _require_metadata(metadata: object) -> Mapping[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ConfigurationError("metadata", "must map str to str")
    pairs: dict[Any, Any] = {**metadata}
    if not all(isinstance(text, str) for pair in pairs.items() for text in pair):
        raise ConfigurationError("metadata", "must map str to str")
    if sum(len(text) for pair in pairs.items() for text in pair) > MAX_METADATA:
        raise ConfigurationError("metadata", f"must be at most {MAX_METADATA} characters in all")
    return pairs
