"""Logging in, against a server that says exactly what the test tells it to."""

import sys

import pytest

from aiopartition import ConfigurationError, Kerberos, PartitionCoordinator, SaslDigest, Secret
from aiopartition.backends.zookeeper.authentication import negotiate
from aiopartition.backends.zookeeper.frames import ProtocolError


@pytest.mark.parametrize("token", [b"", b"token", bytes(range(256))])
def test_a_step_is_these_bytes(token: bytes) -> None:
    length = len(token).to_bytes(4)
    assert negotiate(token).serialize(7) == b"\0\0\0\7\0\0\0\x66" + length + token
    assert negotiate(b"").parse(length + token) == token


def test_an_answer_may_be_nothing_or_malformed() -> None:
    """Jute's null."""
    assert negotiate(b"").parse(b"\xff\xff\xff\xff") == b""
    for body in (b"", b"\0\0\0\1", b"\xff\xff\xff\xfe", b"\x7f\xff\xff\xff"):
        with pytest.raises(ProtocolError):
            negotiate(b"").parse(body)


def test_a_step_is_no_sign_of_life() -> None:
    """A server does not take it for one, so no lease may count from it."""
    assert not negotiate(b"").alive


def test_kerberos_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once, by the constructor."""
    monkeypatch.setitem(sys.modules, "gssapi", None)
    with pytest.raises(ConfigurationError, match=r"Kerberos needs the extra aiopartition\[kerberos\]") as refused:
        PartitionCoordinator("zookeeper://h", auth=Kerberos())
    assert refused.value.part == "auth"


@pytest.mark.parametrize("service", ["", "a/b", "a@B", "a\0", None, 5])
def test_services_that_are_none(service: object) -> None:
    with pytest.raises(ConfigurationError, match="service"):
        Kerberos(service)  # type: ignore[arg-type]


@pytest.mark.parametrize(("user", "password"), [("", "p"), (None, "p"), ("u", None), ("u", b"p"), ("u", Secret(5))])
def test_users_and_passwords_that_are_none(user: object, password: object) -> None:
    with pytest.raises(ConfigurationError, match="must be a str"):
        SaslDigest(user, password)  # type: ignore[arg-type]


def test_a_password_is_hidden() -> None:
    auth = SaslDigest("user", "p4ssw0rd")
    assert auth == SaslDigest("user", Secret("p4ssw0rd")) != SaslDigest("user", "another")
    assert "p4ssw0rd" not in repr(auth)
    assert "p4ssw0rd" not in repr(PartitionCoordinator("zookeeper://h", auth=auth))


def test_there_is_nothing_to_log_in_to_in_memory() -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        PartitionCoordinator("memory://", auth=SaslDigest("user", "password"))
