"""Settings: everything that can be configured is validated once, each mistake is named, and no secret gets out."""

from __future__ import annotations

import dataclasses
import logging
import ssl
import string
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aiopartition import AuthenticationError, ConfigurationError, GroupPolicy, PartitionCoordinator
from aiopartition.backends.zookeeper.codec import ErrorCode
from aiopartition.checks import (
    MAX_ID_BYTES,
    MAX_METADATA,
    MAX_WEIGHT,
    require_id,
    require_min_members,
    require_settle,
    require_weight,
)
from aiopartition.placement.policy import require_policy
from aiopartition.settings import Settings, arguments_from_environment
from aiopartition.url import URL_OPTIONS, Url, parse_url
from tests.support.ports import free_port
from tests.unit.backends.scripted_peer import connect_reply, reply, scripted_peer

NAN: Final = float("nan")
INF: Final = float("inf")
HUGE: Final = 10**400  # beyond floats
ENDLESS: Final = 10**5000  # beyond what Python turns into digits

SECONDS: Final = ("heartbeat", "session_timeout", "connect_timeout")


def refusal(call: Callable[[], object]) -> ConfigurationError:
    """The error that ``call`` ends in."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert type(caught.value) is ConfigurationError
    return caught.value


# ---- URLs


@pytest.mark.parametrize(
    ("text", "hosts", "namespace"),
    [
        ("zookeeper://h", [("h", 2181)], "/aiopartition"),
        ("zookeeper://h:1", [("h", 1)], "/aiopartition"),
        ("zookeeper://h:65535/", [("h", 65535)], "/aiopartition"),
        ("zookeeper://h:02181", [("h", 2181)], "/aiopartition"),
        (
            "zookeeper://a,b:5,[::1],[fe80::2]:7",
            [("a", 2181), ("b", 5), ("::1", 2181), ("fe80::2", 7)],
            "/aiopartition",
        ),
        ("zookeeper://127.0.0.1/one", [("127.0.0.1", 2181)], "/one"),
        ("zookeeper://h/one/two/", [("h", 2181)], "/one/two"),
        ("zookeeper://h/zookeeper2", [("h", 2181)], "/zookeeper2"),
        ("zookeeper://h/one/zookeeper", [("h", 2181)], "/one/zookeeper"),
        ("zookeeper://h/a%20b%25/%E2%82%AC", [("h", 2181)], "/a b%/€"),
        ("zookeeper://h/a%40b%3F%23", [("h", 2181)], "/a@b?#"),
        ("zookeeper://h?", [("h", 2181)], "/aiopartition"),
        ("zookeeper://h/?", [("h", 2181)], "/aiopartition"),
    ],
)
def test_url_of_zookeeper(text: str, hosts: list[tuple[str, int]], namespace: str) -> None:
    """Hosts with their ports in order, IPv6 in brackets, and the namespace decoded; what is left out has a default."""
    url = parse_url(text)
    assert (url.scheme, url.hosts, url.namespace) == ("zookeeper", tuple(hosts), namespace)
    assert url.auth is None
    assert url.options == {}


@pytest.mark.parametrize(
    ("text", "cluster", "options"),
    [
        ("memory://", "", {}),
        ("memory://name", "name", {}),
        ("memory://a%20b%2Fc", "a b/c", {}),
        ("memory://name?heartbeat=2", "name", {"heartbeat": 2.0}),
        ("memory://?session_timeout=0.5&connect_timeout=3", "", {"session_timeout": 0.5, "connect_timeout": 3.0}),
    ],
)
def test_url_of_memory(text: str, cluster: str, options: dict[str, float]) -> None:
    """The embedded backend has a name, maybe an empty one, and the same options."""
    assert parse_url(text) == Url("memory", cluster=cluster, options=options)


@pytest.mark.parametrize(
    ("text", "auth"),
    [
        ("zookeeper://user:password@h", ("user", "password")),
        ("zookeeper://user:@h", ("user", "")),
        ("zookeeper://us%40er:p%40ss%3A%2F%3F%23%25@h", ("us@er", "p@ss:/?#%")),
        ("zookeeper://user:a:b@h", ("user", "a:b")),
        ("zookeeper://user:p#[],;=+@h", ("user", "p#[],;=+")),
        ("zookeeper://%C3%BC:%E2%82%AC@h", ("ü", "€")),
    ],
)
def test_credentials_in_the_url(text: str, auth: tuple[str, str]) -> None:
    """User and password are percent-decoded, and whatever cannot be mistaken may stand as it is."""
    url = parse_url(text)
    assert url.auth == auth
    assert url.hosts == (("h", 2181),)


def test_all_options_in_one_url() -> None:
    """Each documented option is taken, as seconds."""
    options = parse_url("zookeeper://h/n?session_timeout=4&connect_timeout=1.5&heartbeat=0.1").options
    assert options == {"session_timeout": 4.0, "connect_timeout": 1.5, "heartbeat": 0.1}
    assert tuple(options) == URL_OPTIONS


BAD_URLS: Final[list[tuple[object, str, str]]] = [
    # what is given; the part that is named; what else the message must say
    (5, "backend_url", "int"),
    (b"zookeeper://h", "backend_url", "bytes"),
    ("", "backend_url", "zookeeper://"),
    ("zookeeper", "backend_url", "zookeeper://"),
    ("zookeeper:/h", "backend_url", "zookeeper://"),
    ("zookeeper:h", "backend_url", "zookeeper://"),
    ("localhost:2181", "backend_url", "zookeeper://"),
    ("//localhost:2181", "backend_url", "zookeeper://"),
    ("http://h", "backend_url scheme", "'http'"),
    ("redis://h", "backend_url scheme", "'redis'"),
    ("zk+tls://h", "backend_url scheme", "zookeeper://"),
    ("://h", "backend_url scheme", "zookeeper://"),
    (" zookeeper://h", "backend_url scheme", "zookeeper://"),
    ("zookeeper://", "backend_url host", "empty"),
    ("zookeeper:///name", "backend_url host", "empty"),
    ("zookeeper://?heartbeat=1", "backend_url host", "empty"),
    ("zookeeper://user:pw@", "backend_url host", "empty"),
    ("zookeeper://:2181", "backend_url host", "empty"),
    ("zookeeper://,h", "backend_url host", "empty"),
    ("zookeeper://h,", "backend_url host", "empty"),
    ("zookeeper://h,,i", "backend_url host", "empty"),
    ("zookeeper://h i", "backend_url host", "commas"),
    ("zookeeper://h, \n", "backend_url host", "empty"),
    ("zookeeper://h\u3000", "backend_url host", "character"),
    ("zookeeper://[]", "backend_url host", "IPv6"),
    ("zookeeper://[::1", "backend_url host", "brackets"),
    ("zookeeper://[::1]2181", "backend_url host", "brackets"),
    ("zookeeper://[[::1]]", "backend_url host", "brackets"),
    ("zookeeper://[::zz]", "backend_url host", "IPv6"),
    ("zookeeper://[name]", "backend_url host", "IPv6"),
    ("zookeeper://a]b", "backend_url host", "character"),
    ("zookeeper://h\0", "backend_url host", "character"),
    ("zookeeper://::1", "backend_url host", "colons"),
    ("zookeeper://h:1:2", "backend_url host", "colons"),
    ("zookeeper://h:", "backend_url port", "host 1"),
    ("zookeeper://h:0", "backend_url port", "host 1"),
    ("zookeeper://h:-1", "backend_url port", "host 1"),
    ("zookeeper://h:+1", "backend_url port", "host 1"),
    ("zookeeper://h:65536", "backend_url port", "host 1"),
    ("zookeeper://h:100000", "backend_url port", "host 1"),
    ("zookeeper://h:0655350", "backend_url port", "host 1"),
    ("zookeeper://h:000001" + 5000 * "0", "backend_url port", "host 1"),
    ("zookeeper://h:port", "backend_url port", "host 1"),
    ("zookeeper://h:1.0", "backend_url port", "host 1"),
    ("zookeeper://h:²", "backend_url port", "host 1"),
    ("zookeeper://h:٣", "backend_url port", "host 1"),
    ("zookeeper://g:1,h:x", "backend_url port", "host 2"),
    ("zookeeper://[::1]:", "backend_url port", "host 1"),
    ("zookeeper://[::1]:x", "backend_url port", "host 1"),
    ("zookeeper://h?sesion_timeout=1", "backend_url option 'sesion_timeout'", "session_timeout"),
    ("zookeeper://h?Heartbeat=1", "backend_url option 'Heartbeat'", "heartbeat"),
    ("zookeeper://h/n?ssl=true", "backend_url option 1", "heartbeat"),
    ("zookeeper://h?heartbeat=1&=1", "backend_url option 2", "heartbeat"),
    ("memory://?weight=2", "backend_url option 1", "heartbeat"),
    ("zookeeper://h?heartbeat=1&heartbeat=1", "backend_url option 'heartbeat'", "twice"),
    ("memory://?heartbeat=1&session_timeout=2&heartbeat=3", "backend_url option 'heartbeat'", "twice"),
    ("zookeeper://h?heartbeat=soon", "backend_url option 'heartbeat'", "'soon'"),
    ("zookeeper://h?heartbeat=1s", "backend_url option 'heartbeat'", "'1s'"),
    ("zookeeper://h?heartbeat=nan", "backend_url option 'heartbeat'", "'nan'"),
    ("zookeeper://h?heartbeat=-1", "backend_url option 'heartbeat'", "'-1'"),
    ("zookeeper://h?heartbeat=1_0", "backend_url option 'heartbeat'", "'1_0'"),
    ("zookeeper://h?heartbeat=%D9%A3", "backend_url option 'heartbeat'", "'٣'"),
    ("zookeeper://h?heartbeat=" + 5000 * "1", "backend_url option 'heartbeat'", "'111"),
    ("zookeeper://h?heartbeat=", "backend_url option 'heartbeat'", "''"),
    ("zookeeper://h?heartbeat", "backend_url option 'heartbeat'", "''"),
    ("zookeeper://h?session_timeout=1;heartbeat=2", "backend_url option 'session_timeout'", "number"),
    ("zookeeper://h#fragment", "backend_url", "'#'"),
    ("zookeeper://h/n#fragment", "backend_url", "'#'"),
    ("zookeeper://h?heartbeat=1#fragment", "backend_url", "'#'"),
    ("memory://name#fragment", "backend_url", "'#'"),
    ("zookeeper://user@h", "backend_url credentials", "user:password"),
    ("zookeeper://:password@h", "backend_url credentials", "user"),
    ("zookeeper://:@h", "backend_url credentials", "user"),
    ("zookeeper://@h", "backend_url credentials", "user:password"),
    ("zookeeper://user:p/w@h", "backend_url credentials", "percent-encoded"),
    ("zookeeper://user:p?w@h", "backend_url credentials", "percent-encoded"),
    ("zookeeper://user:p/w?w@h", "backend_url credentials", "percent-encoded"),
    ("zookeeper://user:p@w@h", "backend_url", "percent-encoded"),
    ("zookeeper://user:a@g,user:b@h", "backend_url", "percent-encoded"),
    ("zookeeper://us%3Aer:pw@h", "backend_url credentials", "':'"),
    ("zookeeper://user:%FF@h", "backend_url credentials", "UTF-8"),
    ("zookeeper://us%FFer:pw@h", "backend_url credentials", "UTF-8"),
    ("zookeeper://h//n", "backend_url namespace", "segment 1"),
    ("zookeeper://h/n//m", "backend_url namespace", "segment 2"),
    ("zookeeper://h/n//", "backend_url namespace", "segment 2"),
    ("zookeeper://h/.", "backend_url namespace", "'.'"),
    ("zookeeper://h/n/../m", "backend_url namespace", "'..'"),
    ("zookeeper://h/%2E%2E", "backend_url namespace", "'..'"),
    ("zookeeper://h/n%2Fm", "backend_url namespace", "'/'"),
    ("zookeeper://h/%00", "backend_url namespace", "'\\x00'"),
    ("zookeeper://h/\x1f", "backend_url namespace", "'\\x1f'"),
    ("zookeeper://h/%7F", "backend_url namespace", "'\\x7f'"),
    ("zookeeper://h/\x9f", "backend_url namespace", "'\\x9f'"),
    ("zookeeper://h/\ud800", "backend_url namespace", "UTF-8"),
    ("zookeeper://h/\uf8ff", "backend_url namespace", "'\\uf8ff'"),
    ("zookeeper://h/\ufff0", "backend_url namespace", "'\\ufff0'"),
    ("zookeeper://h/😀", "backend_url namespace", "'😀'"),
    ("zookeeper://h/%FF", "backend_url namespace", "UTF-8"),
    ("zookeeper://h/zookeeper", "backend_url namespace", "reserved"),
    ("zookeeper://h/zookeeper/config", "backend_url namespace", "reserved"),
    ("zookeeper://h/%7Aookeeper", "backend_url namespace", "reserved"),
    ("memory://name/", "backend_url", "memory://"),
    ("memory:///name", "backend_url", "memory://"),
    ("memory://user:password@name", "backend_url", "memory://"),
    ("memory://@name", "backend_url", "memory://"),
    ("memory://%FF", "backend_url", "UTF-8"),
]


@pytest.mark.parametrize(("given_url", "part", "saying"), BAD_URLS, ids=lambda value: str(value)[:50])
def test_bad_url_names_its_part(given_url: object, part: str, saying: str) -> None:
    """Whatever is wrong with a URL is said to be wrong, by name, and in the same way by all who take one."""
    error = refusal(lambda: parse_url(given_url))
    assert error.part == part
    assert saying in error.reason
    url: Any = given_url
    assert str(refusal(lambda: Settings.resolve(url))) == str(error)
    assert str(refusal(lambda: PartitionCoordinator(url))) == str(error)


def test_long_url_makes_no_long_error() -> None:
    """Rubbish of any length, a file's content say, is not echoed into the log."""
    assert len(str(refusal(lambda: parse_url(10_000 * "a" + "://h")))) < 200
    assert len(str(refusal(lambda: parse_url(10_000 * "a")))) < 200


# ---- URLs, any text

HOSTILE: Final = [
    "zookeeper://", "memory://", "http://", "://", ":", "/", "//", "?", "&", "=", "@", "#", ",", ";", "[", "]", "%",
    "%2", "%2F", "%00", "%FF", "%3A", "%40", "%ED%A0%80", "+", ".", "..", "-", "_", "~", " ", "\t", "\n", "\0", "\x7f",
    "\ud800", "😀", "ü", "²", "٣", "h", "a.b", "[::1]", "[fe80::1%25eth0]", "user:pw@", "2181", "0", "65536", "1e3",
    "nan", "inf", "1_0", "zookeeper", "heartbeat=1", "session_timeout", "connect_timeout=2",
]  # fmt: skip

anything: Final = st.one_of(
    st.text(),
    st.builds("{}://{}".format, st.sampled_from(["zookeeper", "memory"]), st.text()),
    st.lists(st.sampled_from(HOSTILE), max_size=12).map("".join),
    st.builds(
        "{}{}".format,
        st.sampled_from(["zookeeper://", "zookeeper://h/", "zookeeper://h?", "memory://", "zookeeper://u:p@h"]),
        st.lists(st.sampled_from(HOSTILE), max_size=6).map("".join),
    ),
)


@given(text=anything)
@settings(max_examples=500, deadline=None)
@example("zookeeper://[::1]:5,h/a%3Fb%25/c?heartbeat=1")
@example("memory://a%0Ab%2Fc%3Fd")
@example("memory://\ud800")
@example("zookeeper://\ud800")
@example("zookeeper://²")
def test_any_text_is_a_url_or_refused(text: str) -> None:
    """There is no third outcome; and what is taken for valid means something, and reads back from its own text."""
    try:
        url = parse_url(text)
    except ConfigurationError as error:
        assert error.part.startswith("backend_url")
        assert str(error)
        return
    assert set(url.options) <= set(URL_OPTIONS)
    if url.scheme == "memory":
        assert (url.hosts, url.auth) == ((), None)
    else:
        assert url.hosts
        for host, port in url.hosts:
            assert host
            assert not any(character.isspace() for character in host)
            assert 1 <= port <= 65535
        segments = url.namespace.split("/")
        assert segments.pop(0) == ""
        assert segments
        assert not {"", ".", ".."} & set(segments)
        assert segments[0] != "zookeeper"
    assert parse_url(str(url)) == dataclasses.replace(url, auth=None, options={})
    assert "\n" not in str(url)


@given(text=anything)
@settings(max_examples=200, deadline=None)
def test_any_text_makes_settings_or_is_refused(text: str) -> None:
    """The same for the coordinator's settings, which look at the options' values too."""
    try:
        resolved = Settings.resolve(text)
    except ConfigurationError as error:
        assert error.part.startswith(("backend_url", *SECONDS))
    else:
        assert all(0 < getattr(resolved, name) <= 1_000_000 for name in SECONDS)


plain_segments: Final = st.text(min_size=1).filter(
    lambda text: (
        text not in (".", "..", "zookeeper")
        and "/" not in text
        and all(" " <= each < "\x7f" or "\x9f" < each < "\ud800" or "\uf8ff" < each < "\ufff0" for each in text)
    )
)
host_names: Final = st.text(string.ascii_letters + string.digits + ".-_", min_size=1)
ipv6: Final = st.ip_addresses(v=6).map(str)
addresses: Final = st.tuples(st.one_of(host_names, ipv6), st.one_of(st.none(), st.integers(1, 65535)))
secrets: Final = st.text(st.characters(exclude_categories=["Cs"]))


def spelled(address: tuple[str, int | None]) -> str:
    host, port = address
    return (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")


@given(
    hosts=st.lists(addresses, min_size=1, max_size=4),
    namespace=st.lists(plain_segments, max_size=3),
    auth=st.none() | st.tuples(secrets.filter(lambda user: bool(user) and ":" not in user), secrets),
    options=st.dictionaries(st.sampled_from(URL_OPTIONS), st.decimals("0.001", 1_000_000, places=3).map(float)),
    slash=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_what_is_put_into_a_url_comes_out(
    hosts: list[tuple[str, int | None]],
    namespace: list[str],
    auth: tuple[str, str] | None,
    options: dict[str, float],
    slash: bool,
) -> None:
    """Percent-encoded, any user, password and namespace that ZooKeeper allows fit into a URL."""
    credentials = "" if auth is None else ":".join(quote(text, safe="") for text in auth) + "@"
    path = "".join("/" + quote(segment, safe="") for segment in namespace)
    query = "&".join(f"{name}={value!r}" for name, value in options.items())
    url = parse_url(
        f"zookeeper://{credentials}{','.join(map(spelled, hosts))}{path}{'/' * slash}{'?' * bool(query)}{query}"
    )
    assert url.hosts == tuple((host, 2181 if port is None else port) for host, port in hosts)
    assert url.namespace == ("/" + "/".join(namespace) if namespace else "/aiopartition")
    assert url.auth == auth
    assert url.options == options


# ---- no secret gets out

# Each is a URL with the password where a user might put it by mistake or on purpose.
RIGHT_OR_WRONG: Final = [
    "zookeeper://user:{}@h",
    "zookeeper://user:{}@h:1,[::1]:2/name?heartbeat=3",
    "zookeeper://user:{}@h:0",
    "zookeeper://user:{}@h:port",
    "zookeeper://user:{}@h:1:2",
    "zookeeper://user:{}@",
    "zookeeper://user:{}@/name",
    "zookeeper://user:{}@h h",
    "zookeeper://user:{}@[::1",
    "zookeeper://user:{}@h/a//b",
    "zookeeper://user:{}@h/..",
    "zookeeper://user:{}@h/zookeeper",
    "zookeeper://user:{}@h?hartbeat=1",
    "zookeeper://user:{}@h?heartbeat=x",
    "zookeeper://user:{}@h?heartbeat=1&heartbeat=1",
    "zookeeper://user:{}@h?heartbeat=-1",
    "zookeeper://user:{}@h#fragment",
    "zookeeper://user:{}@g,user:{}@h",
    "zookeeper://:{}@h",
    "zookeeper://{}@h",
    "zookeeper://us@er:{}@h",
    "zookeeper://us er:{}@h",
    "zookeeper://[user:{}@h]",
    "zookeper://user:{}@h",
    "zookeeper:/user:{}@h",
    "zookeeper:user:{}@h",
    "//user:{}@h",
    "user:{}@h",
    "user:{}",
    "memory://user:{}@name",
    "memory://{}@name",
]
# Without an @ that is one, a password that is not encoded cannot be told from a list of hosts or a namespace.
WITHOUT_A_HOST: Final = [
    "zookeeper://user:{}",
    "zookeeper://user:{}%40h",
    "zookeeper://user:{}%40h:2181/name",
    "zookeeper://:{}",
    "zookeeper://:{}%40h",
    "zookeeper://us er:{}",
    "zookeeper://[user:{}",
    "zookeeper://[user]:{}",
    "zookeeper://[user]{}",
]

passwords: Final = st.one_of(
    st.text(min_size=6),
    st.text(alphabet="@/:?#[]%&=+,;. aZ9ü😀\\'\"\n", min_size=6),
    st.tuples(st.text(min_size=3), st.sampled_from("@/:?#[,"), st.text(min_size=3)).map("".join),
)

CONTROL: Final = "\u16a0\u16b1\u16b3\u16b7\u16ba\u16be"  # no text of ours has runes in it


def everything_said_about(outcome: object) -> Iterator[str]:
    """The texts by which ``outcome`` could end up in a log."""
    yield str(outcome)
    yield repr(outcome)
    error = outcome if isinstance(outcome, BaseException) else None
    if error is not None:
        yield from traceback.format_exception(error)
    while error is not None:
        yield str(error)
        yield repr(error)
        yield repr(error.args)
        yield repr(vars(error))
        error = error.__cause__ or error.__context__


def outcome_of(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:
        return error


def assert_hidden(password: str, outcomes: Callable[[str], list[object]]) -> None:
    """``outcomes(password)`` do not tell ``password``, in whatever spelling, nor part of it but by chance."""
    said = "\n".join(text for outcome in outcomes(password) for text in everything_said_about(outcome))
    # With another password the same is said. What stands in there as well is no leak.
    said_anyway = "\n".join(text for outcome in outcomes(CONTROL) for text in everything_said_about(outcome))
    for spelling in {password, quoted(password), repr(password)[1:-1], ascii(password)[1:-1], repr(quoted(password))}:
        assume(spelling not in said_anyway)
        assert spelling not in said


def quoted(password: str) -> str:
    return quote(password, safe="", errors="surrogatepass")


def from_url(url: str) -> list[object]:
    """What comes out of ``url`` wherever one is taken."""
    return [
        outcome_of(lambda: parse_url(url)),
        outcome_of(lambda: Settings.resolve(url)),
        outcome_of(lambda: Settings.resolve(url, heartbeat=-1)),
        outcome_of(lambda: PartitionCoordinator(url)),
    ]


@given(password=passwords, form=st.sampled_from(RIGHT_OR_WRONG), encoded=st.booleans())
@settings(max_examples=400, deadline=None)
def test_password_in_a_url_is_never_told(password: str, form: str, encoded: bool) -> None:
    """Right or wrong, encoded or as it is: no text of what comes out of a URL has its password in it."""
    assert_hidden(password, lambda secret: from_url(form.replace("{}", quoted(secret) if encoded else secret)))


@given(password=passwords, form=st.sampled_from(WITHOUT_A_HOST))
@settings(max_examples=100, deadline=None)
@example("s3cret", "zookeeper://:{}%40h")
@example("s3cret", "zookeeper://us er:{}")
@example("s3cret", "zookeeper://[user:{}")
def test_password_in_a_url_without_a_host_is_never_told(password: str, form: str) -> None:
    """Nor when the password stands where a host or a port is looked for."""
    assert_hidden(password, lambda secret: from_url(form.replace("{}", quoted(secret))))


SECRET: Final = "hunter2"
fragments: Final = st.lists(
    st.sampled_from([SECRET, "1234", "@", "/", "?", "#", ",", ":", "&", "=", "%", "%40", "%zz", "%ff", "[", "]", " "]),
    max_size=8,
).map("".join)


@given(before=fragments, after=fragments, start=st.sampled_from(["zookeeper://", "zookeeper://user:", "memory://"]))
@settings(max_examples=1000, deadline=None)
@example("1234,hunter2:x", "", "zookeeper://user:")
@example("1234?hunter2%40h", "", "zookeeper://user:")
@example("1234/hunter2%ff", "", "zookeeper://user:")
@example("1234//hunter2", "", "zookeeper://user:")
def test_no_part_of_a_password_is_told_wherever_it_stands(before: str, after: str, start: str) -> None:
    """A password that was not encoded falls to pieces, which pass for hosts, ports, a namespace or options. Whatever is
    refused then is named, or counted, and not quoted; also not by an error that the refusal came from."""
    for outcome in from_url(f"{start}{before}{SECRET}{after}"):
        if isinstance(outcome, Exception):
            assert SECRET not in "".join(everything_said_about(outcome))


@given(password=passwords)
@settings(max_examples=60, deadline=None)
def test_password_given_as_an_argument_is_never_told(password: str) -> None:
    """The same for the keyword and for the environment."""

    def outcomes(secret: str) -> list[object]:
        refused: list[Any] = [
            secret,
            (secret,),
            (secret, secret, secret),
            ("", secret),
            (f"us:er{secret}", secret),
            ("user", secret.encode("utf-8", "surrogatepass")),
            {"user": secret},
        ]
        right = "zookeeper://h"
        return [
            Settings.resolve(right, auth=("user", secret)),
            PartitionCoordinator(right, auth=("user", secret)),
            refusal(lambda: Settings.resolve("memory://", auth=("user", secret))),
            refusal(lambda: Settings.resolve(right, auth=("user", secret), heartbeat=0)),
            refusal(lambda: Settings.resolve("zookeeper://h:0", auth=("user", secret))),
            *[refusal(partial(Settings.resolve, right, auth=auth)) for auth in refused],
            outcome_of(lambda: arguments_from_environment("X_", {"X_AUTH": secret.replace(":", "")})),
        ]

    assert_hidden(password, outcomes)


PASSWORD: Final = "s3cret-p@ss/word"


async def test_password_is_not_logged_when_nothing_answers(caplog: pytest.LogCaptureFixture) -> None:
    """A start in vain logs where it tried to connect, at whatever level, without the credentials."""
    caplog.set_level(logging.DEBUG)
    port = free_port()
    url = f"zookeeper://user:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/name?connect_timeout=0.1"
    async with PartitionCoordinator(url) as coordinator:
        assert not coordinator.connected
    assert f"127.0.0.1:{port}" in caplog.text
    assert not leaks(caplog.text)


async def test_password_is_not_told_when_it_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """The error for refused credentials says who refuses them and why, and not what they are."""
    caplog.set_level(logging.DEBUG)
    async with scripted_peer() as server:

        async def refuse() -> None:
            peer = await server.accept()
            await peer.frame()
            peer.send(connect_reply(session_id=5))
            assert PASSWORD.encode() in await peer.frame()
            peer.send(reply(-4, error=ErrorCode.AUTH_FAILED))

        server.script(refuse)
        coordinator = PartitionCoordinator(f"zookeeper://127.0.0.1:{server.port}", auth=("user", PASSWORD))
        with pytest.raises(AuthenticationError) as caught:
            await coordinator.start()
        await coordinator.stop()
    assert f"127.0.0.1:{server.port}" in str(caught.value)
    assert "AuthFailed" in str(caught.value)
    assert not leaks("\n".join(everything_said_about(caught.value)))
    assert not leaks(caplog.text)
    assert not leaks(repr(coordinator))


def leaks(text: str) -> bool:
    return any(spelling in text for spelling in (PASSWORD, quoted(PASSWORD), "s3cret"))


# ---- arguments


def test_defaults_are_the_documented_ones() -> None:
    """What the documentation says holds when nothing is said."""
    resolved = Settings.resolve(None)
    assert uuid.UUID(resolved.member_id).version == 4
    assert dataclasses.replace(resolved, member_id="m") == Settings(
        url=None,
        member_id="m",
        member_id_is_drawn=True,
        heartbeat=1.0,
        session_timeout=10.0,
        connect_timeout=10.0,
        on_unknown="empty",
        ssl=None,
        auth=None,
        metadata={},
    )


def test_only_a_drawn_member_id_gives_way_to_another() -> None:
    """A process that was forked after the drawing needs its own; one that somebody gave is theirs to answer for."""
    drawn, given_one = Settings.resolve(None), Settings.resolve(None, member_id="m")
    assert drawn.with_another_id().member_id != drawn.member_id
    assert given_one.with_another_id() is given_one


def test_each_default_member_id_is_fresh() -> None:
    """Two coordinators that were given no name are two members."""
    assert Settings.resolve(None).member_id != Settings.resolve(None).member_id


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("scheme", ["zookeeper://h", "memory://"])
def test_keyword_beats_url_option_beats_default(name: str, scheme: str) -> None:
    """For each of the options that may stand in a URL."""
    plain: Any = {}
    assert getattr(Settings.resolve(f"{scheme}?{name}=3", **plain), name) == 3.0
    keyword: Any = {name: 4}
    assert getattr(Settings.resolve(f"{scheme}?{name}=3", **keyword), name) == 4.0
    # Also one that is out of range: it is never looked at.
    assert getattr(Settings.resolve(f"{scheme}?{name}=0", **keyword), name) == 4.0
    not_given: Any = {name: None}
    assert getattr(Settings.resolve(f"{scheme}?{name}=3", **not_given), name) == 3.0


def test_auth_keyword_beats_the_urls() -> None:
    """So a secret can be kept out of a URL that has another."""
    assert Settings.resolve("zookeeper://a:b@h").auth == ("a", "b")
    assert Settings.resolve("zookeeper://a:b@h", auth=("c", "d")).auth == ("c", "d")


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        "1",
        b"1",
        NAN,
        INF,
        -INF,
        0,
        0.0,
        -1,
        0.0009,
        1_000_001,
        1e9,
        HUGE,
        -HUGE,
        ENDLESS,
        Decimal(1),
        1j,
        [],
    ],
    ids=lambda value: type(value).__name__,
)
def test_bad_seconds_are_named(name: str, value: object) -> None:
    """Each time is a number of seconds within reason."""
    keyword: Any = {name: value}
    assert refusal(lambda: Settings.resolve(None, **keyword)).part == name
    assert refusal(lambda: PartitionCoordinator(None, **keyword)).part == name


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "-0.0", "-1", "1e7", "1e999"])
def test_bad_seconds_in_a_url_are_named(name: str, value: str) -> None:
    """The same for the options of a URL."""
    error = refusal(lambda: Settings.resolve(f"zookeeper://h?{name}={value}"))
    assert name in error.part


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0.001, 1, 2.5, 1_000_000])
def test_good_seconds_become_floats(name: str, value: float) -> None:
    """Integers are numbers too."""
    keyword: Any = {name: value}
    taken = getattr(Settings.resolve(None, **keyword), name)
    assert taken == value
    assert type(taken) is float


@pytest.mark.parametrize("value", ["", "none", "EMPTY", None, True, 1, [], ["empty"], b"empty"])
def test_bad_on_unknown_is_named(value: object) -> None:
    """One of two words, and the error says which."""
    keyword: Any = {"on_unknown": value}
    error = refusal(lambda: Settings.resolve(None, **keyword))
    assert error.part == "on_unknown"
    assert "'empty' or 'raise'" in error.reason
    assert repr(value) in error.reason


@pytest.mark.parametrize("value", ["empty", "raise"])
def test_good_on_unknown_is_taken(value: str) -> None:
    """Both documented words."""
    assert Settings.resolve(None, on_unknown=value).on_unknown == value


@pytest.mark.parametrize("value", [True, False, "ca.pem", {}, ssl.SSLContext], ids=repr)
def test_bad_ssl_is_named(value: object) -> None:
    """Only a context will do: neither a flag nor a file."""
    keyword: Any = {"ssl": value}
    assert refusal(lambda: Settings.resolve("zookeeper://h", **keyword)).part == "ssl"


def test_ssl_is_taken_as_it_is() -> None:
    """A context of the user's making is used, not copied."""
    context = ssl.create_default_context()
    assert Settings.resolve("zookeeper://h", ssl=context).ssl is context


def test_memory_has_nothing_to_protect() -> None:
    """Credentials for the embedded backend are a mistake: they would protect nothing."""
    context = ssl.create_default_context()
    assert refusal(lambda: Settings.resolve("memory://", ssl=context)).part == "ssl"
    assert refusal(lambda: Settings.resolve("memory://", auth=("user", "password"))).part == "auth"


@pytest.mark.parametrize(
    "value",
    [
        "user:password", b"user:password", (), ("user",), ("user", "password", "more"), ("user", None),
        (None, "password"), (1, 2), (b"user", b"password"), ("", "password"), ("us:er", "password"),
        {"user": "password"}, pytest.param({"user", "password"}, id="{'user', 'password'}"), 5, True,
    ],
    ids=repr,
)  # fmt: skip
def test_bad_auth_is_named(value: object) -> None:
    """A pair of texts; a colon separates the two on the wire, so the user's name has none."""
    keyword: Any = {"auth": value}
    assert refusal(lambda: Settings.resolve("zookeeper://h", **keyword)).part == "auth"


@pytest.mark.parametrize(
    "value", [("user", "password"), ["user", "password"], ("u", ""), ("u", "a:b"), ("ü", "\ud800")]
)
def test_good_auth_is_a_pair(value: Any) -> None:
    """The password may be any text."""
    assert Settings.resolve("zookeeper://h", auth=value).auth == tuple(value)


@pytest.mark.parametrize(
    "value",
    ["text", b"text", 5, [("a", "b")], {"a": 1}, {"a": None}, {1: "a"}, {"a": b"b"}, {"a": "b", "c": True}, {"a": {}}],
    ids=repr,
)
def test_bad_metadata_is_named(value: object) -> None:
    """Metadata maps text to text, and nothing is put through str()."""
    keyword: Any = {"metadata": value}
    assert refusal(lambda: Settings.resolve(None, **keyword)).part == "metadata"


def test_metadata_has_a_limit() -> None:
    """What is stored with each entry stays far below what a server takes."""
    assert Settings.resolve(None, metadata={"k": (MAX_METADATA - 1) * "v"}).metadata["k"]
    error = refusal(lambda: Settings.resolve(None, metadata={"k": MAX_METADATA * "v"}))
    assert error.part == "metadata"
    assert len(str(error)) < 200


def test_metadata_is_copied() -> None:
    """A change of the caller's mapping afterwards is none of ours; any mapping will do."""
    mine = {"rack": "7"}
    resolved = Settings.resolve(None, metadata=mine)
    mine["rack"] = "8"
    assert resolved.metadata == {"rack": "7"}
    assert Settings.resolve(None, metadata=MappingProxyType({"a": "b"})).metadata == {"a": "b"}


BAD_IDS: Final = [
    None,
    5,
    b"id",
    True,
    ("a",),
    "",
    (MAX_ID_BYTES + 1) * "x",
    (MAX_ID_BYTES // 2 + 1) * "ü",
    400 * "\ud800",
]
GOOD_IDS: Final = ["x", " ", ".", "..", "/", ";", "\0", "ü😀", "\ud800", MAX_ID_BYTES * "x", (MAX_ID_BYTES // 2) * "ü"]


@pytest.mark.parametrize("value", BAD_IDS, ids=lambda value: repr(value)[:20])
def test_bad_id_is_named(value: object) -> None:
    """Ids are texts, not empty, and fit into a node's name."""
    assert refusal(lambda: require_id("group_id", value)).part == "group_id"
    if value is not None:
        keyword: Any = {"member_id": value}
        assert refusal(lambda: Settings.resolve(None, **keyword)).part == "member_id"
        assert len(str(refusal(lambda: Settings.resolve(None, **keyword)))) < 200


@pytest.mark.parametrize("value", GOOD_IDS, ids=lambda value: ascii(value)[:20])
def test_good_id_is_taken_as_it_is(value: str) -> None:
    """Any text of up to 1,024 bytes."""
    assert require_id("group_id", value) == value
    assert Settings.resolve(None, member_id=value).member_id == value


NO_INTEGERS: Final[list[object]] = [None, True, False, 1.0, 1.5, NAN, INF, "1", b"1", Decimal(1), [], (1,)]


@pytest.mark.parametrize(
    "value", [*NO_INTEGERS, 0, -1, MAX_WEIGHT + 1, HUGE, ENDLESS, -ENDLESS], ids=lambda v: repr(type(v))
)
def test_bad_weight_is_named(value: object) -> None:
    """A weight is a whole number of shares."""
    assert refusal(lambda: require_weight(value)).part == "weight"


@pytest.mark.parametrize("value", [*NO_INTEGERS, 0, -1, 1_000_001, ENDLESS], ids=lambda v: repr(type(v)))
def test_bad_min_members_is_named(value: object) -> None:
    """At least one, for one is always there."""
    assert refusal(lambda: require_min_members(value)).part == "min_members"


@pytest.mark.parametrize(
    "value",
    [None, True, "0.05", NAN, INF, -0.001, -1, 3600.1, HUGE, ENDLESS, Decimal(1), []],
    ids=lambda v: repr(type(v)),
)
def test_bad_settle_is_named(value: object) -> None:
    """Seconds; none at all is allowed."""
    assert refusal(lambda: require_settle(value)).part == "settle"


def test_bounds_are_inclusive() -> None:
    """The documented limits themselves are allowed."""
    assert [require_weight(1), require_weight(1_000)] == [1, 1_000]
    assert [require_min_members(1), require_min_members(1_000_000)] == [1, 1_000_000]
    assert [require_settle(0), require_settle(0.05), require_settle(3600)] == [0.0, 0.05, 3600.0]


# ---- policies


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(field, value) for field in ("replicas", "slots", "vnodes") for value in NO_INTEGERS],
        ("load_bound", None), ("load_bound", True), ("load_bound", "1.1"), ("load_bound", NAN), ("load_bound", INF),
        ("load_bound", -INF), ("load_bound", 0.99), ("load_bound", 2.01), ("load_bound", 0), ("load_bound", -1.1),
        ("load_bound", HUGE), ("load_bound", ENDLESS), ("load_bound", Decimal("1.1")), ("load_bound", [1.1]),
        ("replicas", 0), ("replicas", -1), ("replicas", 1_001), ("replicas", ENDLESS),
        ("slots", 0), ("slots", -16), ("slots", 8), ("slots", 15), ("slots", 17), ("slots", 24), ("slots", 16_383),
        ("slots", 65_535), ("slots", 131_072), ("slots", ENDLESS),
        ("vnodes", 0), ("vnodes", -1), ("vnodes", 1_001), ("vnodes", ENDLESS),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_bad_policy_is_named(field: str, value: object) -> None:
    """Every field is checked, and the error names the one that is wrong."""
    fields: Any = {field: value}
    error = refusal(lambda: GroupPolicy(**fields))
    assert error.part == field
    assert len(str(error)) < 200


def test_policy_bounds_are_inclusive() -> None:
    """The documented limits themselves are allowed."""
    GroupPolicy(replicas=1, load_bound=1.0, slots=16, vnodes=1)
    GroupPolicy(replicas=16, load_bound=2.0, slots=65_536, vnodes=1_000)


def test_policy_defaults_are_the_documented_ones() -> None:
    """Members that say nothing agree with those that spell the defaults out."""
    assert GroupPolicy() == GroupPolicy(replicas=1, load_bound=1.08, slots=16384, vnodes=160)


@pytest.mark.parametrize("value", [{"replicas": 2}, 2, "default", GroupPolicy, False], ids=repr)
def test_bad_policy_argument_is_named(value: object) -> None:
    """A policy is a GroupPolicy."""
    error = refusal(lambda: require_policy(value))
    assert error.part == "policy"
    assert type(value).__name__ in error.reason


def test_no_policy_is_the_default_policy() -> None:
    """And any other is taken as it is."""
    policy = GroupPolicy(replicas=2)
    assert require_policy(policy) is policy
    assert require_policy(None) == GroupPolicy()


def test_policies_compare_by_value() -> None:
    """An integral bound is the same number."""
    assert GroupPolicy(load_bound=1) == GroupPolicy(load_bound=1.0)
    assert type(GroupPolicy(load_bound=2).load_bound) is float
    assert hash(GroupPolicy(slots=32)) == hash(GroupPolicy(slots=32))


def test_policy_differences_name_the_fields() -> None:
    """Only what differs, ours first."""
    assert GroupPolicy().differences(GroupPolicy()) == {}
    differences = GroupPolicy(slots=32, replicas=2).differences(GroupPolicy(slots=64, vnodes=5, replicas=2))
    assert differences == {"slots": (32, 64), "vnodes": (160, 5)}


def test_policy_as_json_is_complete() -> None:
    """What the first member writes says every field, so that nobody has to know its defaults; but for those that the
    first version did not have, while they are at theirs."""
    policy = GroupPolicy(load_bound=1.25, slots=64, vnodes=7, exclusive=True)
    assert policy.as_json() == {field.name: getattr(policy, field.name) for field in dataclasses.fields(policy)}
    assert GroupPolicy(**policy.as_json()) == policy  # type: ignore[arg-type]
    assert set(GroupPolicy().as_json()) == {"replicas", "load_bound", "slots", "vnodes"}


def test_exclusive_means_one_owner() -> None:
    """Replicas of an exclusive key would be a contradiction."""
    with pytest.raises(ConfigurationError, match="exclusive: requires replicas=1, not 2"):
        GroupPolicy(exclusive=True, replicas=2)
    with pytest.raises(ConfigurationError, match="exclusive: must be a bool, not 1"):
        GroupPolicy(exclusive=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "thing", [GroupPolicy(), parse_url("zookeeper://h"), Settings.resolve(None)], ids=lambda thing: type(thing).__name__
)
def test_settings_are_frozen(thing: Any) -> None:
    """Validated once; from then on nothing changes."""
    for field in dataclasses.fields(thing):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, field.name, None)


# ---- the environment

ENVIRONMENT: Final = {
    "AIOPARTITION_BACKEND_URL": "memory://from-env?heartbeat=9",
    "AIOPARTITION_MEMBER_ID": "m-7",
    "AIOPARTITION_HEARTBEAT": "2",
    "AIOPARTITION_SESSION_TIMEOUT": "30.5",
    "AIOPARTITION_CONNECT_TIMEOUT": "10",
    "AIOPARTITION_ON_UNKNOWN": "raise",
    "AIOPARTITION_AUTH": "user:pass:word",
}


def test_every_variable_is_read() -> None:
    """Each documented variable becomes the argument of its name."""
    assert arguments_from_environment("AIOPARTITION_", ENVIRONMENT) == {
        "backend_url": "memory://from-env?heartbeat=9",
        "member_id": "m-7",
        "heartbeat": 2.0,
        "session_timeout": 30.5,
        "connect_timeout": 10.0,
        "on_unknown": "raise",
        "auth": ("user", "pass:word"),
    }


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_empty_variable_counts_as_not_set(name: str) -> None:
    """As a shell or a deployment's template leaves them."""
    argument = name.removeprefix("AIOPARTITION_").lower()
    arguments = arguments_from_environment("AIOPARTITION_", ENVIRONMENT | {name: ""})
    assert argument not in arguments
    assert len(arguments) == len(ENVIRONMENT) - 1


def test_other_variables_are_left_alone() -> None:
    """Neither those without the prefix, nor unknown ones with it, nor other spellings, are ours to judge."""
    foreign = {"BACKEND_URL": "?", "AIOPARTITION_COLOUR": "red", "aiopartition_heartbeat": "x", "X_HEARTBEAT": "x"}
    assert arguments_from_environment("AIOPARTITION_", foreign) == {}
    assert arguments_from_environment("", {"HEARTBEAT": "3", "MEMBER_ID": "m"}) == {"heartbeat": 3.0, "member_id": "m"}


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("text", ["soon", "1 s", "1,5", "--1"])
def test_bad_number_names_its_variable(name: str, text: str) -> None:
    """The error names what the user wrote, which is the variable, prefix and all."""
    variable = "X_" + name.upper()
    error = refusal(lambda: arguments_from_environment("X_", {variable: text}))
    assert error.part == variable
    assert repr(text) in error.reason


def test_auth_variable_without_a_colon_is_named() -> None:
    """One text for two things needs the separator."""
    error = refusal(lambda: arguments_from_environment("X_", {"X_AUTH": "just-a-password"}))
    assert error.part == "X_AUTH"
    assert "just-a-password" not in str(error)


def test_from_env_makes_a_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    """from_env() reads the process's environment, then."""
    set_environment(monkeypatch, {name: text for name, text in ENVIRONMENT.items() if name != "AIOPARTITION_AUTH"})
    coordinator = PartitionCoordinator.from_env()
    assert coordinator.is_active()
    assert coordinator.member_id == "m-7"
    assert coordinator.session_timeout == 30.5
    assert "memory://from-env" in repr(coordinator)


def test_from_env_with_nothing_set_is_inactive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service without configuration works on everything."""
    set_environment(monkeypatch, {})
    assert not PartitionCoordinator.from_env().is_active()


def test_from_env_with_another_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two coordinators of one process can be configured apart."""
    set_environment(monkeypatch, {"A_MEMBER_ID": "a", "B_MEMBER_ID": "b"})
    assert PartitionCoordinator.from_env("A_").member_id == "a"
    assert PartitionCoordinator.from_env(prefix="B_").member_id == "b"


def test_overrides_beat_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program says counts more than the environment, None included."""
    set_environment(monkeypatch, ENVIRONMENT)
    assert PartitionCoordinator.from_env(auth=None, member_id="override").member_id == "override"
    assert PartitionCoordinator.from_env(auth=None, session_timeout=5).session_timeout == 5.0
    assert not PartitionCoordinator.from_env(auth=None, backend_url=None).is_active()
    assert "memory://other" in repr(PartitionCoordinator.from_env(auth=None, backend_url="memory://other"))


def test_unknown_override_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for any call with a misspelled argument."""
    set_environment(monkeypatch, {})
    with pytest.raises(TypeError, match="hartbeat"):
        PartitionCoordinator.from_env(hartbeat=1)


def test_nothing_reads_the_environment_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructor knows its arguments alone."""
    set_environment(monkeypatch, ENVIRONMENT)
    coordinator = PartitionCoordinator()
    assert not coordinator.is_active()
    assert coordinator.member_id != "m-7"


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)


# ---- what is shown


def test_url_shows_everything_but_the_credentials() -> None:
    """An operator reads from the log where a service connects to."""
    url = parse_url("zookeeper://user:password@a,[::1]:5/name?heartbeat=3")
    assert str(url) == "zookeeper://a:2181,[::1]:5/name"
    assert str(parse_url("memory://name?heartbeat=3")) == "memory://name"
    assert "'heartbeat': 3.0" in repr(url)
    assert "user" not in repr(url)


def test_coordinator_shows_who_and_where_it_is() -> None:
    """Id, backend and state, on one line."""
    coordinator = PartitionCoordinator("zookeeper://user:password@a,[::1]:5/name", member_id="m\n7")
    expected = "<PartitionCoordinator 'm\\n7' at zookeeper://a:2181,[::1]:5/name, was never started>"
    assert repr(coordinator) == str(coordinator) == expected
    assert repr(PartitionCoordinator(member_id="m")) == "<PartitionCoordinator 'm' at no backend, was never started>"
