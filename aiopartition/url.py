"""Parses backend URLs. Error messages never quote text that may be a password."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, Literal
from urllib.parse import quote, unquote

from aiopartition.checks import parse_number
from aiopartition.credentials import Credentials, require_auth
from aiopartition.errors import ConfigurationError
from aiopartition.secret import Secret, hidden
from aiopartition.tls import TlsFiles

__all__ = ["DEFAULT_NAMESPACE", "TLS_OPTIONS", "URL_OPTIONS", "Url", "parse_url"]

_NOT_IN_PATHS: Final = re.compile("[\0-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]")

_NOT_TEXT: Final = "bytes that are not UTF-8, percent-encoded or not"

_BLANK: Final = " \t\r\n"

_MEANT_OTHERWISE: Final = re.compile("[,;&= \t]")
"""Characters that a namespace may have, but that are usually a mistake, such as a namespace after each host."""

DEFAULT_PORT: Final = 2181
DEFAULT_TLS_PORT: Final = 2281
"""As in ZooKeeper's guide to TLS."""
DEFAULT_NAMESPACE: Final = "/aiopartition"
URL_OPTIONS: Final = ("session_timeout", "connect_timeout", "heartbeat")
TLS_OPTIONS: Final = ("ca", "cert", "key")


_TLS_SCHEME: Final = "zookeeper+tls"
_SCHEMES: Final = ("zookeeper", _TLS_SCHEME, "memory")


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed backend URL."""

    scheme: Literal["zookeeper", "memory"]
    hosts: tuple[tuple[str, int], ...] = ()
    namespace: str = DEFAULT_NAMESPACE
    cluster: str = ""
    auth: Credentials | None = None
    tls: TlsFiles | None = None
    options: Mapping[str, float] = field(default_factory=dict[str, float])

    def __str__(self) -> str:
        """Return the URL without credentials, so that it can be logged."""
        if self.scheme == "memory":
            return f"memory://{quote(self.cluster, safe='')}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        scheme = self.scheme if self.tls is None else _TLS_SCHEME
        return f"{scheme}://{hosts}{quote(self.namespace, safe='/')}"


def parse_url(text: object) -> Url:
    """Parse a backend URL, which may be hidden in a :class:`Secret`.

    :raises ConfigurationError: naming the invalid part.
    """
    text = hidden(text) or Secret(None)
    return text.read(_parse)


def _parse(text: object) -> Url:
    if not isinstance(text, str):
        raise ConfigurationError("backend_url", f"must be a str or None, not {type(text).__name__}")
    scheme, separator, rest = text.strip(_BLANK).partition("://")
    if not separator:
        raise ConfigurationError("backend_url", "must look like zookeeper://host:port/namespace or memory://name")
    if scheme not in _SCHEMES:
        # If the scheme is missing, the text before :// may contain credentials.
        named = repr(scheme) if scheme.isalnum() and len(scheme) <= 20 else "that"
        raise ConfigurationError("backend_url scheme", f"{named} is not known, only {_listed(_SCHEMES)} are")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if "@" in path or "@" in query:
        raise ConfigurationError(
            "backend_url credentials", "'/', '?' and '@' in a user or password must be percent-encoded"
        )
    credentials, at, hosts = authority.rpartition("@")
    if "#" in hosts + path + query or "@" in credentials:
        raise ConfigurationError("backend_url", "'#' and '@' must be percent-encoded")
    files, options = _parse_options(query)
    if files and scheme != _TLS_SCHEME:
        raise ConfigurationError(f"backend_url option {next(iter(files))!r}", f"is for {_TLS_SCHEME}:// alone")
    port = DEFAULT_TLS_PORT if scheme == _TLS_SCHEME else DEFAULT_PORT
    if scheme == "memory":
        if at or slash:
            raise ConfigurationError("backend_url", "memory:// takes a name and options, nothing else")
        return Url("memory", cluster=_decode("backend_url", hosts), options=options)
    return Url(
        "zookeeper",
        hosts=tuple(_parse_host(item, number, port) for number, item in enumerate(hosts.split(","), start=1)),
        namespace=_parse_namespace(path),
        auth=_parse_credentials(credentials) if at else None,
        tls=TlsFiles(**files) if scheme == _TLS_SCHEME else None,
        options=options,
    )


def _parse_options(query: str) -> tuple[dict[str, str], dict[str, float]]:
    """Return the files for TLS, and the other options."""
    files: dict[str, str] = {}
    options: dict[str, float] = {}
    for number, item in enumerate(filter(None, query.split("&")), start=1):
        name, _, value = (_decode(f"backend_url option {number}", text) for text in item.partition("="))
        # Only names close to a known option are quoted: part of a password with a "?" in it may end up here.
        known = name in URL_OPTIONS or name in TLS_OPTIONS
        close = _close_options(name)
        part = f"backend_url option {repr(name) if known or close else number}"
        if not known:
            meant = f"; did you mean {' or '.join(sorted(close))}?" if close else ""
            raise ConfigurationError(part, f"is not known, only {', '.join(URL_OPTIONS + TLS_OPTIONS)} are{meant}")
        if name in options or name in files:
            raise ConfigurationError(part, "is given twice")
        if name in URL_OPTIONS:
            options[name] = parse_number(part, value)
        elif value:
            files[name] = value
        else:
            raise ConfigurationError(part, "must name a file")
    return files, options


def _listed(schemes: tuple[str, ...]) -> str:
    return ", ".join(f"{scheme}://" for scheme in schemes)


def _close_options(name: str) -> list[str]:
    """Return the one option that is probably meant, or all that may be meant."""
    return get_close_matches(name.lower(), URL_OPTIONS, 1, 0.75) or get_close_matches(name.lower(), URL_OPTIONS)


def _parse_credentials(text: str) -> Credentials:
    part = "backend_url credentials"
    user, colon, password = text.partition(":")
    if not colon:
        raise ConfigurationError(part, "must be user:password")
    return require_auth((_decode(part, user), _decode(part, password)), part)


def _parse_host(text: str, number: int, default_port: int) -> tuple[str, int]:
    # The message gives the number and never quotes the text: in a URL without a host, it is a user and a password.
    part = "backend_url host"
    text = text.strip(_BLANK)
    if any(character in text for character in ";" + _BLANK):
        raise ConfigurationError(part, f"host {number} has a ';' or a space in it; separate hosts by commas")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_ipv6(host):
            raise ConfigurationError(
                part, f"the brackets of host {number} must hold an IPv6 address, and only :port may follow"
            )
        port = rest[1:] if rest else str(default_port)
    else:
        host, colon, port = text.partition(":")
        if ":" in port:
            raise ConfigurationError(part, f"host {number} has several colons: an IPv6 address goes in brackets")
        if not host:
            raise ConfigurationError(part, f"host {number} is empty; separate hosts by one comma")
        if not all(character.isalnum() or character in "-._" for character in host):
            raise ConfigurationError(part, f"host {number} has a character that no host name has")
        port = port if colon else str(default_port)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535):
        raise ConfigurationError("backend_url port", f"the port of host {number} must be a number from 1 to 65535")
    return host, int(port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _parse_namespace(path: str) -> str:
    """Return the namespace, after checking it by ZooKeeper's rules for paths."""
    if not path.strip("/"):
        return DEFAULT_NAMESPACE
    # Segments are never quoted: part of a password with a "/" in it may end up here.
    part = "backend_url namespace"
    meant_otherwise = _MEANT_OTHERWISE.search(path)
    if meant_otherwise is not None:
        raise ConfigurationError(
            part,
            f"has {meant_otherwise[0]!r} in it, which must be percent-encoded there; "
            "the namespace comes once, after the last host, and options follow after one '?'",
        )
    segments = [_decode(part, segment) for segment in path.removesuffix("/").split("/")]
    for number, segment in enumerate(segments, start=1):
        if segment in ("", ".", "..") or "/" in segment:
            raise ConfigurationError(part, f"segment {number} must not be empty, '.' or '..', nor have a '/' in it")
        foreign = _NOT_IN_PATHS.search(segment)
        if foreign is not None:
            raise ConfigurationError(part, f"segment {number} has {foreign[0]!r}, which no path of ZooKeeper has")
    if segments[0] == "zookeeper":
        raise ConfigurationError(part, "/zookeeper is reserved by ZooKeeper")
    return "/" + "/".join(segments)


def _decode(part: str, text: str) -> str:
    with suppress(UnicodeError):
        decoded = unquote(text, errors="strict")
        decoded.encode()
        return decoded
    # Raised outside the handler: the UnicodeError, which would become the context, contains the text: maybe a secret.
    raise ConfigurationError(part, f"has {_NOT_TEXT}")
