"""URLs: all that is right is understood, each mistake is named, and any text is one or the other."""

import dataclasses
import string
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiopartition import ConfigurationError, PartitionCoordinator
from aiopartition.credentials import require_auth
from aiopartition.settings import Settings
from aiopartition.tls import TlsFiles
from aiopartition.url import URL_OPTIONS, Url, parse_url
from tests.unit.refusals import SECONDS, refusal

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
    assert url.auth == require_auth(auth)
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
    "nan", "inf", "1_0", "zookeeper", "heartbeat=1", "session_timeout", "connect_timeout=2", "ca=", "cert=/x", "key",
]  # fmt: skip


anything: Final = st.one_of(
    st.text(),
    st.builds("{}://{}".format, st.sampled_from(["zookeeper", "zookeeper+tls", "memory"]), st.text()),
    st.lists(st.sampled_from(HOSTILE), max_size=12).map("".join),
    st.builds(
        "{}{}".format,
        st.sampled_from(
            ["zookeeper://", "zookeeper://h/", "zookeeper://h?", "memory://", "zookeeper://u:p@h", "zookeeper+tls://h?"]
        ),
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
    assert parse_url(str(url)) == dataclasses.replace(url, auth=None, options={}, tls=url.tls and TlsFiles())
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
    assert url.auth == (None if auth is None else require_auth(auth))
    assert url.options == options
