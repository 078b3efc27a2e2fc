"""Whatever text comes from outside, what is shown of it is one short line that any terminal and any log can take."""

import json
import logging
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiopartition import errors
from aiopartition.errors import PartitionError, PolicyMismatchError
from aiopartition.group.document import check_document
from aiopartition.group.entry import Entry
from aiopartition.group.status import Awaited
from aiopartition.placement.policy import GroupPolicy
from aiopartition.placement.view import Member
from aiopartition.showing import LONGEST_TEXT, printable, shown, shown_key, shown_name

HOSTILE: Final = {
    "clears the screen": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "C1 escape": "\x9b31m",
    "forged line": "fine\n2026-01-01 ERROR forged",
    "carriage return": "fine\rforged",
    "line separator": "fine\u2028forged\u2029forged\x85forged",
    "surrogate": "\ud800",
    "zero": "\0",
    "right to left": "\u202egnp.exe",
    "invisible": "a\u200bb\u2066c\ufeffd",
    "long": "x" * 100_000,
    "long, to be escaped": "\x1b" * 100_000,
    "delete": "\x7f\x08\x08",
    "beyond Unicode's characters": "\U0010ffff\ufdd0",
}


class Shouts:
    """Has the repr that is asked for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def require_harmless(text: str, longest: int = LONGEST_TEXT) -> None:
    assert text.isprintable(), ascii(text)  # which no control, separator, surrogate or format character is
    text.encode()
    assert len(text) <= longest + 1, len(text)


ERRORS: Final[dict[str, Callable[[str], PartitionError]]] = {
    "PartitionError": PartitionError,
    "ConfigurationError": lambda text: errors.ConfigurationError(text, text),
    "NotStartedError": lambda text: errors.NotStartedError("view", f"has failed: {text}"),
    "PolicyMismatchError": lambda text: PolicyMismatchError(text, {text: (text, text)}),
    "PolicyMismatchError, nested": lambda text: PolicyMismatchError("g", {"slots": ([{text: [text]}], 1)}),
    "MemberSupersededError": lambda text: errors.MemberSupersededError(text, text, 10**18 - 1),
    "OwnershipUnknownError": lambda text: errors.OwnershipUnknownError(text, text),
    "OwnershipLostError": lambda text: errors.OwnershipLostError(text, text),
    "BackendError": lambda text: errors.BackendError(text, text),
    "BackendUnavailableError": errors.BackendUnavailableError,
    "GroupTooLargeError": lambda _: errors.GroupTooLargeError(2, 1),
    "SessionFullError": lambda text: errors.SessionFullError(text, text, 1, 2),
    "ForeignRightsError": lambda text: errors.ForeignRightsError(text, {text: {text: ("WRITE",)}}, (text,)),
    "AuthenticationError": lambda text: errors.AuthenticationError(text, text, text),
}


def test_every_error_is_here() -> None:
    assert {name.split(",")[0] for name in ERRORS} == set(errors.__all__)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("kind", ERRORS)
def test_errors(kind: str, text: str) -> None:
    """Their texts, that is; the facts are as they came."""
    require_harmless(str(ERRORS[kind](text)))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_documents(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and values of fields, in a policy that is none of ours and in what is no policy at all; and a log record
    of it is not lost."""
    policies: list[Any] = [{text: 1}, {"slots": text}, {"slots": [text]}, {"slots": {text: text}}]
    documents = [json.dumps({"format": 1, "policy": policy}).encode() for policy in policies]
    documents += [json.dumps({"format": text, "policy": {}}).encode(), text.encode("utf-8", "surrogatepass")]
    for document in documents:
        with pytest.raises(PolicyMismatchError) as caught:
            check_document(document, "g", GroupPolicy())
        require_harmless(str(caught.value))
        handler = logging.StreamHandler()
        handler.emit(logging.LogRecord("aiopartition", logging.ERROR, "", 0, "%s", (caught.value,), None))
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert "group 'g' has another policy" in told
        assert "Traceback" not in told


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_members(text: str) -> None:
    """What a member says of itself, and the id under which it stands in the tree."""
    text = text[:20_000]  # of longer documents nothing is read
    awaited = Awaited.described(text, json.dumps({"host": text, "started": text, "pid": 1}).encode())
    require_harmless(str(awaited))
    assert awaited.host is not None
    assert awaited.started is not None
    for fact in (awaited.host, awaited.started):
        require_harmless(fact, 255)
    for described in (awaited, Entry(text, 1, 1, "0" * 16), Member(text, 1)):
        require_harmless(repr(described), 12 * len(text) + LONGEST_TEXT)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_values(text: str) -> None:
    """Text, what holds text, and objects that say of themselves what they like."""
    values: list[object] = [text, [text], {text: text}, (text, (text,)), {text}, Shouts(text), ValueError(text)]
    for value in values:
        require_harmless(shown(value), 60)
        require_harmless(shown(value, 10), 10)
    require_harmless(shown_name(text), 255)
    require_harmless(shown_key(text.encode("utf-8", "surrogatepass")), 4 * 60 + 2)


@given(text=st.text(), limit=st.integers(1, 50))
@example("\ud83d\ude00", 3)
@example("\x1b" * 20, 5)
def test_any_text(text: str, limit: int) -> None:
    """And what is harmless stays as it is."""
    require_harmless(printable(text, limit), limit)
    if text.isprintable() and len(text) <= limit:
        assert printable(text, limit) == text


def test_what_is_cut_says_so() -> None:
    """A text of just the limit is whole."""
    assert printable("x" * 60, 60) == "x" * 60
    assert printable("x" * 61, 60) == "x" * 60 + "…"
    assert printable("\n" * 60, 60) == "\\n" * 30 + "…"
    assert shown("x" * 58) == repr("x" * 58)
    assert shown("x" * 59) == "'" + "x" * 59 + "…"
    assert shown(Shouts("a\nb")) == "a\\nb"
    assert shown([1, "a"]) == "[1, 'a']"
