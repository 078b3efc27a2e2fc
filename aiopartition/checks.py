"""Checks of arguments. Each returns the valid value or raises :class:`ConfigurationError` naming the argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ssl import SSLContext
from typing import Any, Final

from aiopartition.errors import ConfigurationError
from aiopartition.showing import shown

__all__ = [
    "MAX_ID_BYTES",
    "MAX_METADATA",
    "MAX_WEIGHT",
    "parse_number",
    "require_auth",
    "require_id",
    "require_integer",
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
"""A weight multiplies the points on every member's ring. Greater weights add cost, but no useful precision."""

MAX_ID_BYTES: Final = 1_024
"""Ids are part of the names of nodes, and a server sends at most 1 MB of names in one response."""

MAX_METADATA: Final = 16_384
"""Characters of metadata. Each entry stores them, and a server accepts at most 1 MB in one request."""


def require_id(what: str, value: object) -> str:
    """Return ``value`` if it is a valid id of a member or group."""
    if not isinstance(value, str):
        raise ConfigurationError(what, f"must be a str, not {type(value).__name__}")
    if not value:
        raise ConfigurationError(what, "must not be empty")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise ConfigurationError(what, f"must be at most {MAX_ID_BYTES} bytes of UTF-8, not {len(value)} characters")
    return value


def require_weight(value: object) -> int:
    """Return ``value`` if it is a valid weight."""
    return require_integer("weight", value, 1, MAX_WEIGHT)


def require_min_members(value: object) -> int:
    """Return ``value`` if it is a valid number of members to wait for."""
    return require_integer("min_members", value, 1, 1_000_000)


def require_seconds(part: str, value: object) -> float:
    return require_number(part, value, 0.0, 1e9)


def require_run_arguments(refresh: object, drain_timeout: object, on_error: object) -> None:
    if require_seconds("refresh", refresh) == 0:
        raise ConfigurationError("refresh", "must be more than 0 seconds")
    require_seconds("drain_timeout", drain_timeout)
    if on_error not in ("restart", "raise"):
        raise ConfigurationError("on_error", f"must be 'restart' or 'raise', not {shown(on_error)}")


def require_settle(value: object) -> float:
    """Return ``value`` if it is a valid settling time, in seconds."""
    return require_number("settle", value, 0.0, 3_600.0)


def require_integer(part: str, value: object, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(part, f"must be an int, not {shown(value)}")
    if not lowest <= value <= highest:
        raise ConfigurationError(part, f"must be between {lowest} and {highest}, not {shown(value)}")
    return value


def require_number(part: str, value: object, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(part, f"must be a number, not {shown(value)}")
    if not lowest <= value <= highest:  # also rejects NaN
        raise ConfigurationError(part, f"must be between {lowest:g} and {highest:g}, not {shown(value)}")
    return float(value)


def require_ssl(value: object) -> SSLContext | None:
    if value is None or isinstance(value, SSLContext):
        return value
    raise ConfigurationError("ssl", f"must be an ssl.SSLContext, not {type(value).__name__}")


def require_auth(auth: object, part: str = "auth") -> tuple[str, str]:
    # Messages never quote the value: it is a secret.
    match auth:
        case (str(user), str(password)):
            pass
        case _:
            raise ConfigurationError(part, "must be a pair of str: user and password")
    if not user or ":" in user:
        raise ConfigurationError(part, "the user must not be empty and must not contain ':'")
    return user, password


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


def parse_number(part: str, text: str) -> float:
    # float() alone would also accept digit groups, digits of other scripts, and "infinity".
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{0,20})?", text) is None:
        raise ConfigurationError(part, f"must be a number of seconds, not {shown(text)}")
    return float(text)
