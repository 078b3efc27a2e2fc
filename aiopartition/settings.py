"""The validated settings of a coordinator."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from ssl import SSLContext
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast, get_args

from aiopartition.acl import Acl, require_acl
from aiopartition.checks import (
    parse_bool,
    parse_number,
    require_bool,
    require_id,
    require_metadata,
    require_number,
    require_ssl,
)
from aiopartition.credentials import Auth, Credentials, Digest, Kerberos, SaslDigest, require_auth
from aiopartition.errors import ConfigurationError
from aiopartition.secret import Secret, hidden
from aiopartition.showing import shown_name
from aiopartition.tls import TlsFiles, merge_tls
from aiopartition.url import TLS_OPTIONS, URL_OPTIONS, Url, parse_url

__all__ = ["Arguments", "OnUnknown", "Settings", "arguments_from_environment", "hide"]

OnUnknown: TypeAlias = Literal["empty", "raise"]

_VARIABLES: Final = {
    **{name: name.upper() for name in ("backend_url", "member_id", "on_unknown", "auth", "auth_scheme", "strict_acl")},
    **{name: name.upper() for name in URL_OPTIONS},
    **{name: f"TLS_{name.upper()}" for name in TLS_OPTIONS},
}
"""The names of the environment's variables, without their prefix, by what they give."""

_SCHEMES: Final = ("digest", "sasl", "kerberos")


@dataclass(frozen=True, slots=True)
class Settings:
    """A coordinator's arguments after validation, with options of the URL and defaults filled in. Times are seconds."""

    url: Url | None
    member_id: str
    member_id_is_drawn: bool
    """Whether the id was generated at random because none was given."""
    heartbeat: float
    session_timeout: float
    connect_timeout: float
    on_unknown: OnUnknown
    ssl: SSLContext | TlsFiles | None
    auth: Credentials | None
    acl: Acl | None
    strict_acl: bool
    metadata: Mapping[str, str]

    @classmethod
    def resolve(
        cls,
        backend_url: str | Secret[str] | None,
        *,
        member_id: str | None = None,
        heartbeat: float | None = None,
        session_timeout: float | None = None,
        connect_timeout: float | None = None,
        on_unknown: str = "empty",
        ssl: SSLContext | TlsFiles | None = None,
        auth: Auth | Secret[Auth] | None = None,
        acl: Acl | None = None,
        strict_acl: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Settings:
        """Validate the arguments and fill in defaults.

        A keyword takes precedence over the same option in the URL; ``None`` means "not given".

        :raises ConfigurationError: naming the invalid argument.
        """
        backend_url, auth = hidden(backend_url), hidden(auth)
        url = None if backend_url is None else parse_url(backend_url)
        options: Mapping[str, float] = {} if url is None else url.options

        def seconds(name: str, given: float | None, default: float) -> float:
            value = given if given is not None else options.get(name, default)
            return require_number(name, value, 0.001, 1_000_000.0)

        if on_unknown not in get_args(OnUnknown):
            raise ConfigurationError("on_unknown", f"must be 'empty' or 'raise', not {on_unknown!r}")
        if url is not None and url.scheme == "memory":
            for name, value in (("ssl", ssl), ("auth", auth), ("acl", acl), ("strict_acl", strict_acl or None)):
                if value is not None:
                    raise ConfigurationError(name, "memory:// has no connection to protect")
        settings = cls(
            url=url,
            member_id=str(uuid.uuid4()) if member_id is None else require_id("member_id", member_id),
            member_id_is_drawn=member_id is None,
            heartbeat=seconds("heartbeat", heartbeat, 1.0),
            session_timeout=seconds("session_timeout", session_timeout, 10.0),
            connect_timeout=seconds("connect_timeout", connect_timeout, 10.0),
            on_unknown=cast(OnUnknown, on_unknown),
            ssl=merge_tls(require_ssl(ssl), None if url is None else url.tls),
            auth=require_auth(auth) if auth is not None else (None if url is None else url.auth),
            acl=require_acl(acl),
            strict_acl=require_bool("strict_acl", strict_acl),
            metadata=require_metadata(metadata),
        )
        if settings.strict_acl and url is not None and (settings.ssl or settings.auth or settings.acl) is None:
            raise ConfigurationError("strict_acl", "needs auth, acl or a client certificate: else all nodes are open")
        return settings

    def with_another_id(self) -> Settings:
        """Return these settings for another process, with a new member id if the present one was generated."""
        return replace(self, member_id=str(uuid.uuid4())) if self.member_id_is_drawn else self


class Arguments(TypedDict, total=False):
    """The arguments of a coordinator, by name."""

    backend_url: str | Secret[str] | None
    member_id: str | None
    heartbeat: float | None
    session_timeout: float | None
    connect_timeout: float | None
    on_unknown: OnUnknown
    ssl: SSLContext | TlsFiles | None
    auth: Auth | Secret[Auth] | None
    acl: Acl | None
    strict_acl: bool
    metadata: Mapping[str, str] | None


def hide(arguments: Arguments) -> None:
    """Make secrets of those arguments that may have a password in them."""
    if "backend_url" in arguments:
        arguments["backend_url"] = hidden(arguments["backend_url"])
    if "auth" in arguments:
        arguments["auth"] = hidden(arguments["auth"])


def arguments_from_environment(prefix: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the coordinator arguments found in ``environment``.

    An empty variable counts as unset.

    :raises ConfigurationError: naming the variable that is invalid, or has the prefix and is not known.
    """
    variables = {name: prefix + variable for name, variable in _VARIABLES.items()}
    unknown = [name for name in environment if name.startswith(prefix) and name not in variables.values()]
    unknown = [name for name in unknown if environment[name]]
    given = {name: Secret(environment[each]) for name, each in variables.items() if environment.get(each)}
    del environment  # tracebacks show the variables of functions, and this one shows every secret of the process
    if prefix and unknown:
        known = ", ".join(variables.values())
        raise ConfigurationError(shown_name(min(unknown)), f"is no variable of this library, whose are: {known}")
    arguments: dict[str, Any] = {}
    files: dict[str, str] = {}
    if "auth" in given or "auth_scheme" in given:
        arguments["auth"] = _credentials(prefix, given.pop("auth", None), given.pop("auth_scheme", None))
    for name, text in given.items():
        variable = variables[name]
        if name in URL_OPTIONS:
            arguments[name] = parse_number(variable, text.reveal())
        elif name in TLS_OPTIONS:
            files[name] = text.reveal()
        elif name == "strict_acl":
            arguments[name] = parse_bool(variable, text.reveal())
        else:
            arguments[name] = text if name == "backend_url" else text.reveal()
    if files:
        arguments["ssl"] = TlsFiles(**files)
    return arguments


def _credentials(prefix: str, text: Secret[str] | None, scheme: Secret[str] | None) -> Credentials:
    """Return what the two variables say together."""
    variable, scheme_variable = prefix + _VARIABLES["auth"], prefix + _VARIABLES["auth_scheme"]
    name = "digest" if scheme is None else scheme.read(partial(_parse_scheme, scheme_variable))
    if name == "kerberos":
        if text is not None:
            raise ConfigurationError(variable, f"is for a password, and Kerberos, as {scheme_variable} says, has none")
        return Kerberos()
    if text is None:
        raise ConfigurationError(variable, f"must be user:password, for {scheme_variable} is {name}")
    digest = text.read(partial(_parse_auth, variable))
    return SaslDigest(digest.user, digest.password) if name == "sasl" else digest


def _parse_scheme(variable: str, text: str) -> str:
    if text not in _SCHEMES:
        # Without the text: it may be what belongs into the variable beside it.
        raise ConfigurationError(variable, f"must be one of {', '.join(_SCHEMES)}")
    return text


def _parse_auth(variable: str, text: str) -> Digest:
    user, colon, password = text.partition(":")
    if not colon:
        raise ConfigurationError(variable, "must be user:password")
    digest = require_auth((user, password), variable)
    assert isinstance(digest, Digest)
    return digest
