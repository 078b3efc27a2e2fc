"""Mistakes in URLs that are often made: forgiven where the meaning is plain, or else named with the remedy."""

import pytest

from aiopartition import ConfigurationError
from aiopartition.credentials import require_auth
from aiopartition.url import parse_url


@pytest.mark.parametrize(
    "hosts", ["zk1:2181, zk2:2181", "zk1:2181 , zk2", " zk1:2181,\tzk2:2181\n", "zk1:2181,\n    zk2:2181"]
)
@pytest.mark.parametrize("rest", ["", "/", "/n?heartbeat=2"])
def test_space_around_a_comma(hosts: str, rest: str) -> None:
    assert parse_url(f"zookeeper://{hosts}{rest}").hosts == (("zk1", 2181), ("zk2", 2181))


def test_space_around_hosts_with_credentials_and_brackets() -> None:
    url = parse_url("zookeeper://user:secret@zk1, [::1]:5 ,[::2]/n")
    assert url.hosts == (("zk1", 2181), ("::1", 5), ("::2", 2181))
    assert url.auth == require_auth(("user", "secret"))


@pytest.mark.parametrize(
    ("hosts", "number"),
    [
        ("zk1:2181;zk2:2181", 1),
        ("zk1;zk2", 1),
        ("[::1];[::2]", 1),
        ("zk1 zk2", 1),
        ("zk1,zk2:2181\tzk3:2181", 2),
        ("zk1:2181; zk2:2181", 1),
    ],
)
def test_hosts_that_are_separated_by_something_else(hosts: str, number: int) -> None:
    with pytest.raises(ConfigurationError, match="separate hosts by commas") as refused:
        parse_url(f"zookeeper://{hosts}/n")
    assert refused.value.part == "backend_url host"
    assert refused.value.reason.startswith(f"host {number} ")


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("timeout", "connect_timeout or session_timeout"),
        ("sessionTimeout", "session_timeout"),
        ("session-timeout", "session_timeout"),
        ("connection_timeout", "connect_timeout"),
        ("heart_beat", "heartbeat"),
    ],
)
def test_name_close_to_an_option(option: str, meant: str) -> None:
    for scheme in ("zookeeper://zk", "memory://m"):
        with pytest.raises(ConfigurationError, match=rf"did you mean {meant}\?") as refused:
            parse_url(f"{scheme}?{option}=5")
        assert refused.value.part == f"backend_url option {option!r}"


@pytest.mark.parametrize("option", ["ssl", "weight", "hunter2", "s3cret"])
def test_name_unlike_any_option(option: str) -> None:
    """It may be a part of a password with a question mark in it, so it is not shown."""
    with pytest.raises(ConfigurationError) as refused:
        parse_url(f"zookeeper://zk?{option}=5")
    assert refused.value.part == "backend_url option 1"
    assert option not in str(refused.value)
    assert "session_timeout" in str(refused.value)


@pytest.mark.parametrize("blank", [" ", "\n", "\r\n", "\t "])
@pytest.mark.parametrize("url", ["zookeeper://zk1", "zookeeper://zk1/n", "zookeeper://zk1?heartbeat=2", "memory://m"])
def test_space_around_the_whole(url: str, blank: str) -> None:
    """As a file or a variable may have it: it must not make another namespace of it."""
    assert parse_url(f"{blank}{url}{blank}") == parse_url(url)


@pytest.mark.parametrize(
    ("rest", "character"),
    [
        ("zk1:2181/n,zk2:2181/n", ","),
        ("zk1/n,zk2", ","),
        ("zk1/n, zk2:2181", ","),
        ("zk1/n&heartbeat=2", "&"),
        ("zk1/n/heartbeat=2", "="),
        ("zk1/n;zk2/n", ";"),
        ("zk1/n zk2/n", " "),
        ("zk1/ n", " "),
    ],
)
def test_what_is_meant_for_no_namespace(rest: str, character: str) -> None:
    """Else all but the first host would be taken for a part of it, without a word."""
    with pytest.raises(ConfigurationError, match="comes once, after the last host") as refused:
        parse_url(f"zookeeper://{rest}")
    assert refused.value.part == "backend_url namespace"
    assert refused.value.reason.startswith(f"has {character!r} in it")


def test_these_characters_can_be_encoded() -> None:
    url = parse_url("zookeeper://zk1/a%2Cb%3Bc%26d%3De%20f")
    assert url.namespace == "/a,b;c&d=e f"
    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    "wrong", ["zk,", "zk,z|k", "zk,::1", "zk,[::1", "zk,[::1]5", "zk,zk2:", "zk,zk\u00a0", "zk,z，k"]
)
def test_the_host_that_is_wrong_is_told(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="host 2 "):
        parse_url(f"zookeeper://{wrong}")
