"""No secret gets out, wherever a user may have put it."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aiopartition import AuthenticationError, PartitionCoordinator
from aiopartition.backends.zookeeper.codec import ErrorCode
from aiopartition.settings import Settings, arguments_from_environment
from aiopartition.url import parse_url
from tests.support.ports import free_port
from tests.unit.backends.scripted_peer import connect_reply, reply, scripted_peer
from tests.unit.refusals import everything_said_about, outcome_of, refusal

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
