"""Checks of arguments. Each returns the valid value or raises :class:`ConfigurationError` naming the argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import iscoroutinefunction
from ssl import SSLContext
from typing import Any, Final

from aiopartition.errors import ConfigurationError
from aiopartition.showing import shown
from aiopartition.tls import TlsFiles

__all__ = [
    "MAX_ID_BYTES",
    "MAX_METADATA",
    "MAX_WEIGHT",
    "parse_bool",
    "parse_number",
    "require_bool",
    "require_id",
    "require_integer",
    "require_key",
    "require_metadata",
    "require_min_members",
    "require_number",
    "require_run_arguments",
    "require_seconds",
    "require_settle",
    "require_ssl",
    "require_weight",
]

MAX_WEIGHT: Final = 1_000
"""Weights are relative. Greater ones would add no useful precision."""

MAX_ID_BYTES: Final = 1_024
"""Ids are part of the names of nodes, and a server sends at most 1 MB of names in one response."""

MAX_METADATA: Final = 16_384
"""Characters of metadata. Each entry stores them, and a server accepts at most 1 MB in one request."""


def require_id(what: str, value: object) -> str:
    """Return ``value`` if it is a valid id of a member or group; of a subclass of ``str``, the text that it has."""
    if value is None and what == "group_id":
        raise ConfigurationError(
            what, "must be a str; None stands for no group only where everything can be mine, as in extract_my_subset()"
        )
    if not isinstance(value, str):
        raise ConfigurationError(what, f"must be a str, not {type(value).__name__}")
    if not value:
        raise ConfigurationError(what, "must not be empty")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise ConfigurationError(what, f"must be at most {MAX_ID_BYTES} bytes of UTF-8, not {len(value)} characters")
    return str.__str__(value)


def require_weight(value: object) -> int:
    """Return ``value`` if it is a valid weight. A member of weight 0 owns nothing."""
    return require_integer("weight", value, 0, MAX_WEIGHT)


def require_min_members(value: object) -> int:
    """Return ``value`` if it is a valid number of members to wait for."""
    return require_integer("min_members", value, 1, 1_000_000)


def require_seconds(part: str, value: object) -> float:
    return require_number(part, value, 0.0, 1e9)


def require_key(key: object) -> None:
    """Check an argument ``key``.

    :raises TypeError: if it is given but cannot be called, or is an async function.
    """
    if iscoroutinefunction(key):
        raise TypeError(f"key must be a plain function, not an async one: {shown(key)}")
    if key is None or callable(key):
        return
    remedy = ""
    if isinstance(key, str):
        name = shown(key)
        remedy = (
            f"; for an attribute of that name give operator.attrgetter({name}), for an item operator.itemgetter({name})"
        )
    raise TypeError(f"key must be a function that returns the key of a resource, not {shown(key)}{remedy}")


def require_run_arguments(
    worker: object, refresh: object, drain_timeout: object, on_error: object, on_change: object
) -> None:
    if not callable(worker):
        raise TypeError(f"worker must be an async function that takes a resource, not {shown(worker)}")
    if require_seconds("refresh", refresh) == 0:
        raise ConfigurationError("refresh", "must be more than 0 seconds")
    require_seconds("drain_timeout", drain_timeout)
    if on_error not in ("restart", "raise"):
        raise ConfigurationError("on_error", f"must be 'restart' or 'raise', not {shown(on_error)}")
    if on_change not in ("keep", "restart"):
        raise ConfigurationError("on_change", f"must be 'keep' or 'restart', not {shown(on_change)}")


def require_settle(value: object) -> float:
    """Return ``value`` if it is a valid settling time, in seconds."""
    return require_number("settle", value, 0.0, 3_600.0)


def require_integer(part: str, value: object, lowest: int, highest: int) -> int:
    """Return ``value`` as a plain ``int``: a member of an enumeration may have a text of its own."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(part, f"must be an int, not {shown(value)}")
    if not lowest <= value <= highest:
        raise ConfigurationError(part, f"must be between {lowest} and {highest}, not {shown(value)}")
    return int.__int__(value)


def require_number(part: str, value: object, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(part, f"must be a number, not {shown(value)}")
    if not lowest <= value <= highest:  # also rejects NaN
        raise ConfigurationError(part, f"must be between {lowest:g} and {highest:g}, not {shown(value)}")
    return float(value)


def require_bool(part: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(part, f"must be a bool, not {shown(value)}")
    return value


def require_ssl(value: object) -> SSLContext | TlsFiles | None:
    if value is None or isinstance(value, SSLContext | TlsFiles):
        return value
    raise ConfigurationError("ssl", f"must be an ssl.SSLContext or TlsFiles, not {type(value).__name__}")


def require_metadata(metadata: object) -> Mapping[str, str]:
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


def parse_bool(part: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigurationError(part, f"must be true or false, not {shown(text)}")
    return text == "true"


def parse_number(part: str, text: str) -> float:
    # float() alone would also accept digit groups, digits of other scripts, and "infinity".
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{0,20})?", text) is None:
        raise ConfigurationError(part, f"must be a number of seconds, not {shown(text)}")
    return float(text)
