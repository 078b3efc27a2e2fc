"""DIGEST-MD5 without a server: the examples of RFC 2831, and what servers may say that is none of it."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiopartition.backends.zookeeper.frames import ProtocolError
from aiopartition.backends.zookeeper.sasl import Exchange, LoginError, advance, digest_md5
from aiopartition.secret import Secret

ZOOKEEPERS = b'realm="zk-sasl-md5",nonce="n0nc3",charset=utf-8,algorithm=md5-sess'


def begun(user: str = "user", password: str = "password", **fixed: str) -> Exchange:
    exchange = digest_md5(user, Secret(password), **fixed)
    assert advance(exchange, None) == b""
    return exchange


@pytest.mark.parametrize(
    ("service", "nonce", "client_nonce", "response", "proof"),
    [
        (
            "imap", "OA6MG9tEQGm2hh", "OA6MHXh6VqTrRk",
            "d388dad90d4bbd760a152321f2143af7", "ea40f60335c427b5527b84dbabcdfffd",
        ),
        (
            "acap", "OA9BSXrbuRhWay", "OA9BSuZWMSpW8m",
            "6084c6db3fede7352c551284490fd0fc", "2f0b3d7c3c2e486600ef710726aa2eae",
        ),
    ],
)  # fmt: skip
def test_examples_of_the_rfc(service: str, nonce: str, client_nonce: str, response: str, proof: str) -> None:
    """Section 4."""
    exchange = begun("chris", "secret", uri=f"{service}/elwood.innosoft.com", nonce=client_nonce)
    said = advance(
        exchange, f'realm="elwood.innosoft.com",nonce="{nonce}",qop="auth",algorithm=md5-sess,charset=utf-8'.encode()
    )
    assert said is not None
    assert set(said.decode().split(",")) == {
        "charset=utf-8", 'username="chris"', 'realm="elwood.innosoft.com"', f'nonce="{nonce}"', "nc=00000001",
        f'cnonce="{client_nonce}"', f'digest-uri="{service}/elwood.innosoft.com"', f"response={response}", "qop=auth",
    }  # fmt: skip
    assert advance(exchange, f"rspauth={proof}".encode()) is None


@pytest.mark.parametrize("proof", [b"", b"rspauth=", b"rspauth=" + b"0" * 32, ZOOKEEPERS])
def test_a_server_that_does_not_know_the_password(proof: bytes) -> None:
    exchange = begun()
    advance(exchange, ZOOKEEPERS)
    with pytest.raises(LoginError, match="has not proved"):
        advance(exchange, proof)


def test_a_server_that_says_nothing() -> None:
    with pytest.raises(LoginError, match="not set up for SASL"):
        advance(begun(), b"")


@pytest.mark.parametrize(
    "challenge",
    [
        b"rubbish", b"\xff" * 40, b'nonce="', b'nonce="n" x', b",", b"realm=x", b"=", b'"',
        ZOOKEEPERS.replace(b"md5-sess", b"md5"), ZOOKEEPERS.replace(b"md5-sess", b"sha-256"),
        ZOOKEEPERS + b',qop="auth-int,auth-conf"', ZOOKEEPERS + b',nonce="another"', ZOOKEEPERS + b",algorithm=md5",
        ZOOKEEPERS.replace(b"zk-sasl-md5", b"\xff"), ZOOKEEPERS.replace(b"n0nc3", b"\xc3\xbc"),
        ZOOKEEPERS.replace(b'nonce="n0nc3",', b""), ZOOKEEPERS + b" " * 2048, b'x="' + b"\\" * 2000,
    ],
)  # fmt: skip
def test_challenges_that_are_none(challenge: bytes) -> None:
    with pytest.raises(ProtocolError, match="a challenge"):
        advance(begun(), challenge)


@pytest.mark.parametrize(
    "challenge",
    [
        ZOOKEEPERS, ZOOKEEPERS + b',qop="auth-int, auth"', ZOOKEEPERS + b",stale=true,unknown=1,maxbuf=65536",
        b', NONCE = "n0nc3" ,, algorithm=md5-sess , charset=utf-8,', ZOOKEEPERS + b',realm="another"',
        ZOOKEEPERS.replace(b"zk-sasl-md5", b'a \\"q\\" \\\\ realm'),
    ],
)  # fmt: skip
def test_challenges_that_look_unusual(challenge: bytes) -> None:
    said = advance(begun(), challenge)
    assert said is not None
    assert b'nonce="n0nc3"' in said


def test_the_first_realm_is_taken_and_quoted() -> None:
    said = advance(begun(), ZOOKEEPERS.replace(b"zk-sasl-md5", b'a \\"q\\"') + b',realm="b"')
    assert said is not None
    assert b',realm="a \\"q\\"",' in said


def test_a_server_that_knows_no_utf_8() -> None:
    without = ZOOKEEPERS.replace(b"charset=utf-8,", b"")
    said = advance(begun("jürgen"), without)
    assert said is not None
    assert b'username="j\xfcrgen"' in said
    assert b"charset" not in said
    with pytest.raises(LoginError, match="ISO 8859-1"):
        advance(begun("日本"), without)


def test_no_two_exchanges_are_alike() -> None:
    assert advance(begun(), ZOOKEEPERS) != advance(begun(), ZOOKEEPERS)


@given(st.text(min_size=1), st.text())
def test_any_user_and_password(user: str, password: str) -> None:
    """The user arrives as it was given, and the password is not told."""
    said = advance(begun(user, password), ZOOKEEPERS)
    assert said is not None
    quoted = re.search(rb'username="((?:[^"\\]|\\.)*)"', said, re.DOTALL)
    assert quoted is not None
    assert re.sub(rb"\\(.)", rb"\1", quoted[1], flags=re.DOTALL).decode("utf-8", "surrogatepass") == user


@given(st.binary(max_size=200))
def test_any_challenge(challenge: bytes) -> None:
    with contextlib.suppress(ProtocolError, LoginError):
        advance(begun(), challenge)
