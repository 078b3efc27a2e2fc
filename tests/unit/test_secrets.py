"""No secret gets out, wherever a user may have put it."""

import asyncio
import copy
import dataclasses
import json
import logging
import pickle
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pprint import pformat
from typing import Any, Final, cast
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aiopartition import (
    Acl,
    AuthenticationError,
    ConfigurationError,
    GroupPolicy,
    Kerberos,
    PartitionCoordinator,
    SaslDigest,
)
from aiopartition.backends.zookeeper.authentication import authenticate
from aiopartition.backends.zookeeper.codec import ErrorCode, ReplyError
from aiopartition.backends.zookeeper.connection import Address, Connection, ConnectionLostError
from aiopartition.backends.zookeeper.frames import ProtocolError
from aiopartition.backends.zookeeper.session import Session
from aiopartition.backends.zookeeper.watches import WatchEvent
from aiopartition.cli.access import _Quiet
from aiopartition.cli.main import _run, make_parser
from aiopartition.clock import now
from aiopartition.credentials import Digest, require_auth
from aiopartition.secret import Secret, hidden
from aiopartition.settings import Settings, arguments_from_environment
from aiopartition.url import parse_url
from tests.support.ports import free_port
from tests.unit.backends.scripted_peer import Peer, connect_reply, framed, reply, scripted_peer
from tests.unit.refusals import everything_said_about, outcome_of, outcome_of_awaiting, refusal

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
    "zookeeper+tls://user:{}@h",
    "zookeeper+tls://user:{}@h?ca=/missing&key=",
    "zookeeper+ssl://user:{}@h",
    "zookeeper://user:{}@h?cert=/missing",
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


STARTS: Final = ["zookeeper://", "zookeeper://user:", "zookeeper+tls://", "memory://"]


@given(before=fragments, after=fragments, start=st.sampled_from(STARTS))
@settings(max_examples=1000, deadline=None)
@example("1234,hunter2:x", "", "zookeeper://user:")
@example("1234?hunter2%40h", "", "zookeeper://user:")
@example("1234/hunter2%ff", "", "zookeeper://user:")
@example("1234//hunter2", "", "zookeeper://user:")
def test_no_part_of_a_password_is_told_wherever_it_stands(before: str, after: str, start: str) -> None:
    """A password that was not encoded falls to pieces, which pass for hosts, ports, a namespace or options. Whatever is
    refused then is named, or counted, and not quoted; also not by an error that the refusal came from."""
    url = f"{start}{before}{SECRET}{after}"
    if isinstance(outcome_of(lambda: parse_url(url)), Exception):
        for outcome in from_url(url):
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
SESSION_PASSWORD: Final = 16 * "p"  # as connect_reply() has it


async def test_password_is_not_logged_when_nothing_answers(caplog: pytest.LogCaptureFixture) -> None:
    """A start in vain logs where it tried to connect, at whatever level, without the credentials."""
    caplog.set_level(logging.DEBUG)
    port = free_port()
    url = f"zookeeper://user:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/name?connect_timeout=0.1"
    async with PartitionCoordinator(url) as coordinator:
        assert not coordinator.connected
    assert f"127.0.0.1:{port}" in caplog.text
    assert not leaks(caplog.text)


Script = Callable[[Peer], Awaitable[None]]


async def refuse(peer: Peer) -> None:
    assert PASSWORD.encode() in await peer.frame()
    peer.send(reply(-4, error=ErrorCode.AUTH_FAILED))


async def hang_up(peer: Peer) -> None:
    peer.hang_up()


async def reset(peer: Peer) -> None:
    peer.reset()


async def reset_after_the_credentials(peer: Peer) -> None:
    await peer.frame()
    peer.reset()


async def send_nonsense(peer: Peer) -> None:
    await peer.frame()
    peer.send(framed(b"no"))


async def say_nothing(peer: Peer) -> None:
    await peer.frame()


@pytest.mark.parametrize(
    "script",
    [refuse, hang_up, reset, reset_after_the_credentials, send_nonsense, say_nothing],
    ids=lambda script: script.__name__,
)
async def test_password_is_not_told_when_logging_in_fails(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a server does with the credentials: neither the log, nor the variables in any traceback have them."""
    caplog.set_level(logging.DEBUG)
    async with scripted_peer() as server:

        async def answer() -> None:
            while True:
                peer = await server.accept()
                with suppress(OSError, EOFError):  # a client that has given up
                    await peer.frame()
                    peer.send(connect_reply(session_id=5))
                    await script(peer)

        serving = asyncio.create_task(answer())
        auth = ("user", PASSWORD)
        session = Session(
            [("127.0.0.1", server.port)], 4.0, _Quiet(), lambda _: None, clock=now, auth=require_auth(auth)
        )
        with pytest.raises((ConnectionLostError, ProtocolError, ReplyError, TimeoutError)) as failed:
            async with asyncio.timeout(1.0 if script is say_nothing else 30.0):
                await session._connect(Address("127.0.0.1", "127.0.0.1", server.port))
        coordinator = PartitionCoordinator(f"zookeeper://127.0.0.1:{server.port}", auth=auth, connect_timeout=0.3)
        started = await outcome_of_awaiting(coordinator.start())
        said = "\n".join([*everything_said_about(failed.value), *everything_said_about(started), repr(coordinator)])
        await coordinator.stop()
        serving.cancel()
        await asyncio.wait({serving})
    assert isinstance(started, AuthenticationError) == (script is refuse)
    if isinstance(started, AuthenticationError):
        assert f"127.0.0.1:{server.port}" in str(started)
        assert "AuthFailed" in str(started)
    assert not leaks(said)
    assert not leaks(caplog.text)
    assert SESSION_PASSWORD not in said


async def test_what_waits_for_an_answer_holds_no_credentials() -> None:
    """Neither in its variables: an error reporter may show those of all tasks."""
    async with scripted_peer() as server:
        session = Session(
            [("127.0.0.1", server.port)],
            4.0,
            _Quiet(),
            lambda _: None,
            clock=now,
            auth=require_auth(("user", PASSWORD)),
        )
        connecting = asyncio.create_task(session._connect(Address("127.0.0.1", "127.0.0.1", server.port)))
        peer = await server.accept()
        await peer.frame()
        peer.send(connect_reply(session_id=5))
        assert PASSWORD.encode() in await peer.frame()
        frames = 0
        waiting: Any = connecting.get_coro()
        while getattr(waiting, "cr_frame", None) is not None:
            assert not leaks(repr(waiting.cr_frame.f_locals))
            frames, waiting = frames + 1, waiting.cr_await
        assert frames >= 3
        connecting.cancel()
        await asyncio.wait({connecting})


@pytest.mark.parametrize(
    "call",
    [
        lambda: Acl.digest_id("us:er", PASSWORD),
        lambda: Acl.digest_id(cast("str", None), PASSWORD),
        lambda: Acl.digest_id("user", cast("str", None)),
        lambda: SaslDigest("user", cast("str", None)),
        lambda: SaslDigest("", PASSWORD),
        lambda: SaslDigest(cast("str", None), Secret(PASSWORD)),
        lambda: SaslDigest("user", cast("str", PASSWORD.encode())),
        lambda: PartitionCoordinator("memory://", auth=SaslDigest("user", PASSWORD)),
        lambda: PartitionCoordinator("zookeeper://h", auth=("us:er", PASSWORD)),
        lambda: PartitionCoordinator("zookeeper://h", auth=cast("Any", ("user", PASSWORD, "more"))),
        lambda: PartitionCoordinator("zookeeper://h:0", auth=Secret(("user", PASSWORD))),
        lambda: PartitionCoordinator(cast("Any", PASSWORD.encode())),
        lambda: PartitionCoordinator("memory://", auth=("user", Secret(PASSWORD))),
        lambda: parse_url(PASSWORD),
    ],
)
def test_calls_that_take_a_password_hide_it_before_they_raise(call: Callable[[], object]) -> None:
    """Their own arguments are among the variables of a traceback."""
    error = outcome_of(call)
    assert isinstance(error, ConfigurationError)
    assert not leaks("\n".join(everything_said_about(error)))


def test_a_failed_write_tells_nothing() -> None:
    """The event loop's frames, in which writing failed, hold what was written."""
    connection = Connection(now, Unconcerned())
    connection.connection_made(asyncio.Transport())

    def write(data: bytes) -> None:
        raise BrokenPipeError(data[:0])

    failed = outcome_of(lambda: write(PASSWORD.encode()))
    assert isinstance(failed, BrokenPipeError)
    connection.connection_lost(failed)
    assert failed.__traceback__ is None


class Unconcerned:
    """Owns a connection."""

    def replied(self, reply: object) -> None: ...

    def event_received(self, event: WatchEvent) -> None: ...

    def connection_ended(self, connection: object) -> None: ...


def test_operations_and_settings_show_no_credentials() -> None:
    """Neither do their parts, however they are taken to pieces, formatted, copied or stored."""
    resolved = Settings.resolve(f"zookeeper://user:{quote(PASSWORD, safe='')}@h")
    assert isinstance(resolved.auth, Digest)
    operation = authenticate("digest", resolved.auth.token)
    for thing in (resolved, resolved.url, resolved.auth, operation, operation.request):
        texts = [repr(thing), str(thing), f"{thing}", pformat(thing), repr(copy.deepcopy(thing))]
        if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            fields = dataclasses.asdict(thing)
            texts += [repr(fields), json.dumps(fields, default=str), repr(dataclasses.astuple(thing))]
        assert not leaks("\n".join(texts))
        with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
            pickle.dumps(thing)


def test_a_secret_shows_nothing() -> None:
    """And is a value all the same."""
    secret = Secret(PASSWORD)
    assert {repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{secret!r}"} == {"Secret(...)"}
    assert secret.reveal() == PASSWORD
    assert secret == Secret(PASSWORD) != Secret("another")
    assert secret != PASSWORD
    assert len({secret, Secret(PASSWORD)}) == 1
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    assert hidden(cast("str | Secret[str]", secret)) is secret
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
    for call in (lambda: json.dumps(secret), lambda: iter(secret), lambda: len(secret)):  # type: ignore[call-overload,arg-type]
        with pytest.raises(TypeError) as refused:
            call()
        assert not leaks(str(refused.value))


def test_a_parser_of_a_secret_fails_without_its_frames() -> None:
    """Its error comes out alone: causes may quote the value, and frames hold it."""

    def parse(text: str) -> None:
        try:
            text.encode("ascii")
        except UnicodeError as error:
            raise ValueError("it is not ASCII") from error

    error = outcome_of(lambda: Secret(f"{PASSWORD}ü").read(parse))
    assert isinstance(error, ValueError)
    assert error.__cause__ is error.__context__ is None
    assert not leaks("\n".join(everything_said_about(error)))


ENVIRONMENT: Final = {"X_AUTH": f"user:{PASSWORD}", "X_BACKEND_URL": f"zookeeper://user:{quote(PASSWORD, safe='')}@h"}


@pytest.mark.parametrize(
    ("variables", "overrides"),
    [
        ({}, {"heartbeat": -1}),
        ({}, {"hartbeat": 1}),
        ({}, {"backend_url": f"zookeeper:/{PASSWORD}"}),
        ({}, {"auth": PASSWORD}),
        ({"X_HEARTBEAT": "soon"}, {}),
        ({"X_HEARTBEAT": "soon"}, {"auth": ("user", PASSWORD), "backend_url": PASSWORD}),
        ({"X_AUTH": PASSWORD}, {}),
        ({"X_AUTH": f":{PASSWORD}"}, {}),
        ({"X_AUTH_SCHEME": PASSWORD}, {}),
        ({"X_AUTH_SCHEME": f"user:{PASSWORD}", "X_AUTH": ""}, {}),
        ({"X_AUTH_SCHEME": "kerberos"}, {}),
        ({"X_AUTH_SCHEME": "sasl", "X_AUTH": PASSWORD}, {}),
        ({"X_AUTH_SCHEME": "sasl", "X_AUTH": f":{PASSWORD}"}, {}),
        ({"X_AUTH_SCHEME": "sasl", "X_HEARTBEAT": "soon"}, {}),
        ({"X_AUTH_SCHEME": "sasl"}, {"heartbeat": -1}),
        ({"X_BACKEND_URL": PASSWORD}, {}),
        ({"X_BACKEND_URL": f"memory://{PASSWORD}@"}, {}),
        ({"X_ON_UNKNOWN": "perhaps"}, {}),
    ],
)
def test_password_in_the_environment_is_never_told(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], overrides: dict[str, Any]
) -> None:
    """Whatever else of it, or of the overrides, is wrong. The environment itself is not among the variables."""
    for name, text in {**ENVIRONMENT, **variables}.items():
        monkeypatch.setenv(name, text)
    error = outcome_of(lambda: PartitionCoordinator.from_env("X_", **overrides))
    assert isinstance(error, ConfigurationError | TypeError)
    said = "\n".join(everything_said_about(error))
    assert not leaks(said)
    assert "environ(" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["groups", f"zookeeper://user:{PASSWORD}@h"],
        ["groups", f"zookeeper://user:{quote(PASSWORD, safe='')}@h"],
        ["groups", PASSWORD],
        ["groups", f"memory://{PASSWORD}"],
        ["groups", "zookeeper://h", "--auth-from-env"],
        ["groups", "zookeeper://h", "--auth-from-env", "--key", "k"],
        ["groups", "zookeeper://h", "--auth-from-env", "--sasl"],
        ["groups", "zookeeper://h", "--sasl"],
        ["protect", "zookeeper://h", "--kerberos", "--ca", "/missing"],
        ["groups", f"zookeeper://user:{quote(PASSWORD, safe='')}@h", "--ca", "/missing"],
    ],
)
@pytest.mark.parametrize("scheme", ["", "sasl", "kerberos", PASSWORD])
def test_password_given_to_the_command_line_is_never_told(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], scheme: str
) -> None:
    """Neither as an argument, where it does not belong, nor in the environment, where it does."""
    monkeypatch.setenv("AIOPARTITION_AUTH", PASSWORD)
    monkeypatch.setenv("AIOPARTITION_AUTH_SCHEME", scheme)
    given = make_parser().parse_args(arguments)
    error = outcome_of(lambda: _run(given))
    assert isinstance(error, ConfigurationError)
    assert not leaks("\n".join([repr(given), *everything_said_about(error)]))


@pytest.mark.parametrize(
    "call",
    [
        lambda: PartitionCoordinator("zookeeper:/h"),
        lambda: PartitionCoordinator(heartbeat=-1),
        lambda: PartitionCoordinator.from_env("X_", auth=cast("Any", 5)),
        lambda: SaslDigest("", "password"),
        lambda: Kerberos(cast("str", 5)),
        lambda: Acl(()),
        lambda: Acl(cast("Any", 5)),
        lambda: Acl(cast("Any", (5,))),
        lambda: Acl(("world:anyone",), readers=cast("Any", None)),
        lambda: GroupPolicy(slots=3),
        lambda: GroupPolicy(partitions=cast("int", "x")),
    ],
)
def test_what_was_refused_has_a_repr(call: Callable[[], object]) -> None:
    """A half-made object is among the variables of a traceback through its constructor, whose formatting must not
    fail, and hide what was wrong."""
    error = outcome_of(call)
    assert isinstance(error, ConfigurationError)
    assert "ConfigurationError" in "".join(everything_said_about(error))


def test_a_coordinator_that_was_refused_says_so() -> None:
    coordinator = object.__new__(PartitionCoordinator)
    with pytest.raises(ConfigurationError):
        coordinator.__init__("zookeeper:/h")  # type: ignore[misc]
    assert repr(coordinator) == "<PartitionCoordinator whose arguments were refused>"


def leaks(text: str) -> bool:
    return any(spelling in text for spelling in (PASSWORD, quoted(PASSWORD), "s3cret"))
