"""Settings: everything that can be configured is validated once, and each mistake is named."""

import dataclasses
import ssl
import uuid
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import pytest

from aiopartition import PartitionCoordinator
from aiopartition.checks import (
    MAX_ID_BYTES,
    MAX_METADATA,
    MAX_WEIGHT,
    require_id,
    require_min_members,
    require_settle,
    require_weight,
)
from aiopartition.credentials import Credentials, Digest, Kerberos, SaslDigest, require_auth
from aiopartition.secret import Secret
from aiopartition.settings import Settings, arguments_from_environment
from aiopartition.url import parse_url
from tests.unit.refusals import ENDLESS, HUGE, INF, NAN, NO_INTEGERS, SECONDS, refusal

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
        acl=None,
        strict_acl=False,
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
    assert Settings.resolve("zookeeper://a:b@h").auth == require_auth(("a", "b"))
    assert Settings.resolve("zookeeper://a:b@h", auth=("c", "d")).auth == require_auth(("c", "d"))


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
    assert Settings.resolve("zookeeper://h", auth=value).auth == Digest(value[0], Secret(value[1]))


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


@pytest.mark.parametrize(
    "value", [*NO_INTEGERS, -1, MAX_WEIGHT + 1, HUGE, ENDLESS, -ENDLESS], ids=lambda v: repr(type(v))
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
    assert [require_weight(0), require_weight(1_000)] == [0, 1_000]
    assert [require_min_members(1), require_min_members(1_000_000)] == [1, 1_000_000]
    assert [require_settle(0), require_settle(0.05), require_settle(3600)] == [0.0, 0.05, 3600.0]


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
        "backend_url": Secret("memory://from-env?heartbeat=9"),
        "member_id": "m-7",
        "heartbeat": 2.0,
        "session_timeout": 30.5,
        "connect_timeout": 10.0,
        "on_unknown": "raise",
        "auth": Digest("user", Secret("pass:word")),
    }


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_empty_variable_counts_as_not_set(name: str) -> None:
    """As a shell or a deployment's template leaves them."""
    argument = name.removeprefix("AIOPARTITION_").lower()
    arguments = arguments_from_environment("AIOPARTITION_", ENVIRONMENT | {name: ""})
    assert argument not in arguments
    assert len(arguments) == len(ENVIRONMENT) - 1


def test_other_variables_are_left_alone() -> None:
    """Neither those without the prefix, nor other spellings of it, are ours to judge."""
    foreign = {"BACKEND_URL": "?", "aiopartition_heartbeat": "x", "X_HEARTBEAT": "x"}
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


@pytest.mark.parametrize(
    ("scheme", "auth", "credentials"),
    [
        ("", "user:pass:word", Digest("user", Secret("pass:word"))),
        ("digest", "user:pass:word", Digest("user", Secret("pass:word"))),
        ("sasl", "user:pass:word", SaslDigest("user", "pass:word")),
        ("sasl", "user:", SaslDigest("user", "")),
        ("kerberos", "", Kerberos()),
    ],
)
def test_the_scheme_says_how_to_log_in(scheme: str, auth: str, credentials: Credentials) -> None:
    """One variable says who we are, the other how that is shown."""
    assert arguments_from_environment("X_", {"X_AUTH_SCHEME": scheme, "X_AUTH": auth}) == {"auth": credentials}


@pytest.mark.parametrize("text", ["SASL", "Kerberos", "digest-md5", "gssapi", "none", " sasl", "user:password"])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(text: str) -> None:
    """It is not quoted: the two variables are easily mistaken for each other."""
    error = refusal(lambda: arguments_from_environment("X_", {"X_AUTH_SCHEME": text, "X_AUTH": "user:password"}))
    assert (error.part, error.reason) == ("X_AUTH_SCHEME", "must be one of digest, sasl, kerberos")


@pytest.mark.parametrize("scheme", ["digest", "sasl"])
def test_a_scheme_without_a_user_is_refused(scheme: str) -> None:
    """A deployment whose secret has not arrived must not go on as nobody."""
    for auth in ({}, {"X_AUTH": ""}, {"X_AUTH": "user"}, {"X_AUTH": ":password"}):
        error = refusal(lambda: arguments_from_environment("X_", {"X_AUTH_SCHEME": scheme, **auth}))  # noqa: B023
        assert error.part == "X_AUTH"


def test_kerberos_takes_no_password() -> None:
    """Which of the two was meant cannot be known."""
    error = refusal(lambda: arguments_from_environment("X_", {"X_AUTH_SCHEME": "kerberos", "X_AUTH": "user:secret"}))
    assert error.part == "X_AUTH"
    assert "X_AUTH_SCHEME" in error.reason


def test_a_misspelled_variable_is_told_the_name_of_the_scheme() -> None:
    error = refusal(lambda: arguments_from_environment("X_", {"X_AUTH_SCHEMA": "sasl"}))
    assert error.part == "'X_AUTH_SCHEMA'"
    assert "X_AUTH_SCHEME," in error.reason


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
        PartitionCoordinator.from_env(hartbeat=1)  # type: ignore[call-arg]


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
    url = parse_url("zookeeper://user:hunter2@a,[::1]:5/name?heartbeat=3")
    assert str(url) == "zookeeper://a:2181,[::1]:5/name"
    assert str(parse_url("memory://name?heartbeat=3")) == "memory://name"
    assert "'heartbeat': 3.0" in repr(url)
    assert "hunter2" not in repr(url)


def test_coordinator_shows_who_and_where_it_is() -> None:
    """Id, backend and state, on one line."""
    coordinator = PartitionCoordinator("zookeeper://user:password@a,[::1]:5/name", member_id="m\n7")
    expected = "<PartitionCoordinator 'm\\n7' at zookeeper://a:2181,[::1]:5/name, was never started>"
    assert repr(coordinator) == str(coordinator) == expected
    assert repr(PartitionCoordinator(member_id="m")) == "<PartitionCoordinator 'm' at no backend, was never started>"
