"""Errors: one root, the hierarchy as drawn, texts built from facts, and nothing lost on the way to another process."""

import copy
import inspect
import pickle
import re
from typing import Final

import pytest

import aiopartition
from aiopartition import errors
from aiopartition.errors import (
    AuthenticationError,
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    ForeignRightsError,
    GroupTooLargeError,
    MemberSupersededError,
    NotStartedError,
    OwnershipLostError,
    OwnershipUnknownError,
    PartitionError,
    PolicyMismatchError,
    SessionFullError,
)

Facts = dict[str, object]

FULL: Final = (
    "full: they take 699,950 bytes, and more than 700,000 are a danger to the ensemble; "
    "join fewer groups, use shorter ids, or divide the groups among several coordinators"
)

FOREIGN: Final = "group 'g' can be changed by others than its members"
REMEDY: Final = "'aiopartition protect' closes nodes that are there"
EVERY_MESSAGE: Final[list[tuple[PartitionError, Facts, str]]] = [
    (
        ConfigurationError("backend_url port", "must be a number"),
        {"part": "backend_url port", "reason": "must be a number"},
        "backend_url port: must be a number",
    ),
    (
        NotStartedError("view", "was stopped"),
        {"operation": "view", "state": "was stopped"},
        "view() needs a started coordinator, and this one was stopped",
    ),
    (
        PolicyMismatchError("g", {"slots": (16, 32), "load_bound": (1.1, 1.5)}),
        {"group_id": "g", "differences": {"slots": (16, 32), "load_bound": (1.1, 1.5)}},
        "group 'g' has another policy: slots is 16 there and 32 here, load_bound is 1.1 there and 1.5 here",
    ),
    (
        GroupTooLargeError(20_000, 12_500),
        {"members": 20_000, "limit": 12_500},
        "the group has 20,000 members that take part, and its policy allows 12,500",
    ),
    (
        MemberSupersededError("g\n", "m", 7),
        {"group_id": "g\n", "member_id": "m", "incarnation": 7},
        "member 'm' of group 'g\\n' was superseded: a later incarnation (7) of the same member id has joined",
    ),
    (
        OwnershipLostError("g", "it was to be handed over"),
        {"group_id": "g", "reason": "it was to be handed over"},
        "ownership in group 'g' was lost while it was held: it was to be handed over",
    ),
    (
        OwnershipUnknownError("g", "2 of at least 3 members are present"),
        {"group_id": "g", "reason": "2 of at least 3 members are present"},
        "ownership in group 'g' is unknown: 2 of at least 3 members are present",
    ),
    (BackendError("the disk is full"), {"reason": "the disk is full", "path": None}, "the disk is full"),
    (BackendError("not empty", "/a/b"), {"reason": "not empty", "path": "/a/b"}, "/a/b: not empty"),
    (
        BackendUnavailableError("no connection to zk:2181"),
        {"reason": "no connection to zk:2181", "path": None},
        "no connection to zk:2181",
    ),
    (
        AuthenticationError("the certificate is not trusted"),
        {"reason": "the certificate is not trusted", "path": None, "permission": None},
        "the certificate is not trusted",
    ),
    (AuthenticationError("go away", "/a"), {"reason": "go away", "path": "/a", "permission": None}, "/a: go away"),
    (
        AuthenticationError("these credentials do not have it", "/a", "CREATE"),
        {"reason": "these credentials do not have it", "path": "/a", "permission": "CREATE"},
        "/a: permission CREATE denied: these credentials do not have it",
    ),
    (
        AuthenticationError("these credentials do not have it", permission="READ"),
        {"reason": "these credentials do not have it", "path": None, "permission": "READ"},
        "permission READ denied: these credentials do not have it",
    ),
    (
        SessionFullError("full", "/g/members/" + 200 * "e", 699_950, 700_000),
        {"reason": "full", "path": "/g/members/" + 200 * "e", "used": 699_950, "limit": 700_000},
        f"{FULL} (not created: /g/members/{89 * 'e'}…)",
    ),
    (
        SessionFullError("full", "/g/members/e", 699_950, 700_000),
        {"reason": "full", "path": "/g/members/e", "used": 699_950, "limit": 700_000},
        f"{FULL} (not created: /g/members/e)",
    ),
    (
        ForeignRightsError("g", {path: {"world:anyone": ("CREATE", "ADMIN")} for path in ("/a", "/b")}),
        {
            "group_id": "g",
            "others": {path: {"world:anyone": ("CREATE", "ADMIN")} for path in ("/a", "/b")},
            "unreadable": (),
        },
        f"{FOREIGN}: 'world:anyone' has CREATE, ADMIN on /a, /b; {REMEDY}",
    ),
    (
        ForeignRightsError("g", {"/a": {f"ip:{number}": ("WRITE",) for number in range(7)}}, ("/a/b",)),
        {
            "group_id": "g",
            "others": {"/a": {f"ip:{number}": ("WRITE",) for number in range(7)}},
            "unreadable": ("/a/b",),
        },
        (
            f"{FOREIGN}: 'ip:0' has WRITE on /a; 'ip:1' has WRITE on /a; 'ip:2' has WRITE on /a; "
            "'ip:3' has WRITE on /a; 'ip:4' has WRITE on /a and 2 more; "
            f"who else, it cannot be told from the ACLs of /a/b, which may not be read; {REMEDY}"
        ),
    ),
]

NAMES: Final = [f"{type(error).__name__}-{number}" for number, (error, _, _) in enumerate(EVERY_MESSAGE)]


def error_classes() -> dict[str, type[BaseException]]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return {name: each for name, each in classes if issubclass(each, BaseException)}


def test_hierarchy_is_the_one_drawn() -> None:
    """The drawing at the top of the module is true, and complete."""
    drawing = str(errors.__doc__).split("::", 1)[1].split("Each carries", 1)[0]
    drawn: dict[str, str | None] = {}
    ancestors: list[str] = []
    for line in filter(str.strip, drawing.splitlines()):
        match = re.fullmatch(r"(?P<indent>[ │├└─]*)(?P<name>\w+)(?P<note>.*)", line)
        assert match is not None, line
        depth = len(match["indent"]) // 4 - 1
        drawn[match["name"]] = ancestors[depth - 1] if depth else None
        ancestors[depth:] = [match["name"]]
    real = {name: kind.__bases__[0].__name__ for name, kind in error_classes().items()}
    assert real.pop("PartitionError") == "Exception"
    assert drawn.pop("PartitionError", "missing") is None
    assert real == drawn


def test_every_error_is_public() -> None:
    """Whatever the module defines can be imported from the package, so that it can be caught."""
    assert sorted(error_classes()) == sorted(errors.__all__)
    for name in errors.__all__:
        assert name in aiopartition.__all__
        assert getattr(aiopartition, name) is getattr(errors, name)


def test_every_error_class_is_pinned_below() -> None:
    """No error escapes the tables of this file."""
    assert {type(error).__name__ for error, _, _ in EVERY_MESSAGE} == set(error_classes()) - {"PartitionError"}


def test_configuration_error_is_a_value_error() -> None:
    """Who expects the usual error for a bad argument gets it; no other error is taken for one."""
    assert {name for name, kind in error_classes().items() if issubclass(kind, ValueError)} == {"ConfigurationError"}


@pytest.mark.parametrize(("error", "facts", "text"), EVERY_MESSAGE, ids=NAMES)
def test_text_is_built_from_the_facts(error: PartitionError, facts: Facts, text: str) -> None:
    """The facts are attributes, and the text says them."""
    assert vars(error) == facts
    assert str(error) == text


@pytest.mark.parametrize(("error", "facts", "text"), EVERY_MESSAGE, ids=NAMES)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_survives_pickling(error: PartitionError, facts: Facts, text: str, protocol: int) -> None:
    """Sent to another process an error keeps its class, facts, arguments and text."""
    twin = pickle.loads(pickle.dumps(error, protocol))
    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
    assert twin.args == error.args
    assert str(twin) == text


@pytest.mark.parametrize(("error", "facts", "text"), EVERY_MESSAGE, ids=NAMES)
def test_survives_copying(error: PartitionError, facts: Facts, text: str) -> None:
    """A copy says the same as the original."""
    for twin in (copy.copy(error), copy.deepcopy(error)):
        assert (type(twin), vars(twin), str(twin)) == (type(error), vars(error), text)


@pytest.mark.parametrize(("error", "facts", "text"), EVERY_MESSAGE, ids=NAMES)
def test_repr_shows_the_facts(error: PartitionError, facts: Facts, text: str) -> None:
    """A bare repr in a log still tells what happened."""
    shown = repr(error)
    assert shown.startswith(type(error).__name__ + "(")
    for fact in facts.values():
        assert repr(fact) in shown


def test_differences_are_the_errors_own() -> None:
    """What the caller does to its mapping afterwards changes neither the facts nor the text."""
    differences: dict[str, tuple[object, object]] = {"slots": (16, 32)}
    error = PolicyMismatchError("g", differences)
    differences.clear()
    assert error.differences == {"slots": (16, 32)}
    assert pickle.loads(pickle.dumps(error)).differences == {"slots": (16, 32)}


def test_an_error_can_be_raised_and_caught_by_its_root() -> None:
    """One except clause for everything that the library raises on purpose."""
    for error, _, _ in EVERY_MESSAGE:
        with pytest.raises(PartitionError) as caught:
            raise error
        assert caught.value is error
