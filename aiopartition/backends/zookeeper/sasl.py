"""SASL's DIGEST-MD5 (RFC 2831) as ZooKeeper speaks it: for authentication alone (``qop=auth``), and without I/O.

An :data:`Exchange` is a generator. It yields a token to send, receives the answer, and returns once the server has
proved that it, too, knows the password. Between two steps it holds neither the password nor the hash that is worth as
much in the clear.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Generator
from functools import partial
from hashlib import md5
from typing import Final, NamedTuple, TypeAlias

from aiopartition.backends.zookeeper.frames import ProtocolError
from aiopartition.secret import Secret

__all__ = ["Exchange", "LoginError", "advance", "digest_md5"]

Exchange: TypeAlias = Generator[bytes, bytes, None]

_URI: Final = "zookeeper/zk-sasl-md5"
"""The service and the host, which every ZooKeeper server has for this mechanism (``SecurityUtils.java``)."""

_LONGEST_CHALLENGE: Final = 2048
"""Bytes (RFC 2831, 2.1.1)."""

_DIRECTIVE: Final = re.compile(
    rb'[\s,]*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s",\\]++))\s*(?:,[\s,]*|$)', re.DOTALL
)


class LoginError(Exception):
    """Logging in has failed, and trying again will not help: the server refuses this client, this client refuses the
    server, or the client has no credentials."""


def advance(exchange: Exchange, said: bytes | None) -> bytes | None:
    """Take a step of an exchange. Return the token to send, or ``None`` at the end.

    :param said: the server's answer to the previous token; ``None`` at the first step.
    """
    try:
        return next(exchange) if said is None else exchange.send(said)
    except StopIteration:
        return None


def digest_md5(user: str, password: Secret[str], *, uri: str = _URI, nonce: str | None = None) -> Exchange:
    """Prove to a server that we know a user's password, and have it prove the same.

    :param uri: the service and the host, as in ``digest-uri``.
    :param nonce: the client's; by default a new one.
    :raises ProtocolError: if the server does not speak this mechanism.
    :raises LoginError: if the server does not know the password, or offers no authentication.
    """
    said = yield b""
    if not said:
        raise LoginError("the server is not set up for SASL")
    challenge = _parse_challenge(said)
    exchange = _Exchange(user, challenge.realm, challenge.nonce, nonce or secrets.token_hex(16), uri)
    expected = b"rspauth=" + password.read(partial(exchange.response, "")).encode()
    said = yield exchange.answer(password.read(partial(exchange.response, "AUTHENTICATE")), challenge.charset)
    if not hmac.compare_digest(said, expected):
        raise LoginError("the server has not proved that it knows the password: it may be an impostor")


class _Challenge(NamedTuple):
    realm: str
    nonce: str
    charset: str


class _Exchange(NamedTuple):
    """All that both sides of one exchange know, except the password."""

    user: str
    realm: str
    nonce: str
    client_nonce: str
    uri: str

    def response(self, method: str, password: str) -> str:
        """Return the proof that its sender knows the password.

        :param method: ``AUTHENTICATE`` for the client's proof, empty for the server's.
        """
        secret = _hash(_octets(self.user) + b":" + _octets(self.realm) + b":" + _octets(password))
        a1 = _hash(secret + f":{self.nonce}:{self.client_nonce}".encode()).hex()
        a2 = _hash(f"{method}:{self.uri}".encode()).hex()
        return _hash(f"{a1}:{self.nonce}:00000001:{self.client_nonce}:auth:{a2}".encode()).hex()

    def answer(self, response: str, charset: str) -> bytes:
        quoted = {
            "username": self.user, "realm": self.realm, "nonce": self.nonce, "cnonce": self.client_nonce,
            "digest-uri": self.uri,
        }  # fmt: skip
        text = ",".join(f'{name}="{_escaped(value)}"' for name, value in quoted.items())
        if charset != "utf-8" and not _fits_latin_1(text):
            raise LoginError("the server takes only user names whose letters are in ISO 8859-1")
        said = "charset=utf-8," if charset == "utf-8" else ""
        return f"{said}{text},nc=00000001,qop=auth,response={response}".encode(charset, "surrogatepass")


def _parse_challenge(said: bytes) -> _Challenge:
    directives = _directives(said)
    charset = "utf-8" if directives.get("charset") == [b"utf-8"] else "latin-1"
    qualities = b",".join(directives.get("qop", [b"auth"]))
    if directives.get("algorithm") != [b"md5-sess"] or b"auth" not in re.split(rb"[\s,]+", qualities):
        raise ProtocolError("a challenge of another kind than DIGEST-MD5 with qop=auth")
    try:
        (nonce,) = directives["nonce"]
        realm = directives.get("realm", [b""])[0]
        return _Challenge(realm.decode(charset), nonce.decode("ascii"), charset)
    except (KeyError, ValueError):
        raise ProtocolError("a challenge of DIGEST-MD5 that is malformed") from None


def _directives(said: bytes) -> dict[str, list[bytes]]:
    """Return the values of each name, in order."""
    if len(said) > _LONGEST_CHALLENGE:
        raise ProtocolError(f"a challenge of {len(said)} bytes")
    found: dict[str, list[bytes]] = {}
    end = 0
    while end < len(said):
        directive = _DIRECTIVE.match(said, end)
        if directive is None:
            raise ProtocolError("a challenge that is not one of DIGEST-MD5")
        name, quoted, plain = directive.groups()
        value: bytes = plain if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
        found.setdefault(name.decode().lower(), []).append(value)
        end = directive.end()
    return found


def _octets(text: str) -> bytes:
    """Encode a text for a hash: in ISO 8859-1 if that has all its letters, else in UTF-8 (RFC 2831, 2.1.2.1)."""
    return text.encode("latin-1" if _fits_latin_1(text) else "utf-8", "surrogatepass")


def _fits_latin_1(text: str) -> bool:
    return max(text, default="") <= "\xff"


def _escaped(text: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", text)


def _hash(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()
