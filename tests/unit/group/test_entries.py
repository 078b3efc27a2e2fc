"""Names: any id fits into one component of a path, and back, with exactly one spelling."""

import re
import string
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aiopartition.checks import MAX_ID_BYTES, MAX_WEIGHT
from aiopartition.group.entry import MAX_INCARNATION, Entry
from aiopartition.parsing import parse_number
from aiopartition.quoting import quote_component, unquote_component

NONCE: Final = "0123456789abcdef"

# Lone surrogates included, which os.environ and file names can bring.
any_id: Final = st.one_of(
    st.text(min_size=1), st.text(alphabet="./;%~-_ 25eEfF\0\n\x7f\ud800\udc00ü😀", min_size=1, max_size=8)
)
nonces: Final = st.text("0123456789abcdef", min_size=16, max_size=16)
entries: Final = st.builds(Entry, any_id, st.integers(1, MAX_WEIGHT), st.integers(0, MAX_INCARNATION), nonces)

SPECIAL_IDS: Final = [
    ".", "..", "...", "/", "//", "a/b", "../..", ";", ";1;1;" + NONCE, "%", "%2E", "%2e", "%25", " ", "\0",
    "\n", "\r\n", "\t", "\x7f", "\x85", "\ud800", "\udfff", "\ud83d\ude00", "😀", "ü", "u\u0308", "\ufeff", "\uffff",
    "zookeeper", "~", "+", "%%", "%ZZ", "=", "a" * MAX_ID_BYTES, "\0" * MAX_ID_BYTES,
]  # fmt: skip


# ---- components


@given(text=any_id)
@example(".")
@example("..")
@example("/")
def test_component_round_trip(text: str) -> None:
    """Whatever the text, it comes back."""
    assert unquote_component(quote_component(text)) == text


@given(text=any_id)
@example(".")
@example("..")
@example("...")
def test_component_fits_into_a_path(text: str) -> None:
    """No text is special in a path, and all are of characters that neither ZooKeeper nor a terminal minds."""
    component = quote_component(text)
    assert component not in ("", ".", "..")
    assert re.fullmatch(r"([A-Za-z0-9_.~-]|%[0-9A-F]{2})+", component)


@given(one=any_id, other=any_id)
@example("😀", "\ud83d\ude00")
@example("%2E", ".")
@example("ü", "u\u0308")
@example("..", "%2E%2E")
def test_different_texts_have_different_components(one: str, other: str) -> None:
    """Two groups never share a node; not even two texts that look the same."""
    assume(one != other)
    assert quote_component(one) != quote_component(other)


@pytest.mark.parametrize("text", ["pollers", "a.b", "...", "A-Z_0~9", ".a", "a."])
def test_harmless_text_stays_readable(text: str) -> None:
    """An operator finds the group in the tree by its name."""
    assert quote_component(text) == text


@pytest.mark.parametrize(
    ("text", "component"),
    [
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("a b", "a%20b"),
        ("ü", "%C3%BC"),
        ("😀", "%F0%9F%98%80"),
        ("\ud800", "%ED%A0%80"),
        ("a;b", "a%3Bb"),
        ("\0", "%00"),
    ],
)
def test_component_is_the_documented_one(text: str, component: str) -> None:
    """Pinned: another version or language that spelled it otherwise would look for the group elsewhere."""
    assert quote_component(text) == component


def test_component_that_is_no_text_is_told() -> None:
    """Bytes that are not UTF-8 do not turn into something that looks like an id."""
    with pytest.raises(UnicodeDecodeError):
        unquote_component("%FF")


# ---- entries


@given(entry=entries)
@settings(max_examples=200)
def test_entry_round_trip(entry: Entry) -> None:
    """Everything that placement needs stands in the name."""
    assert Entry.parse(entry.name) == entry


@pytest.mark.parametrize("member_id", SPECIAL_IDS, ids=lambda text: ascii(text)[:20])
def test_special_ids_round_trip(member_id: str) -> None:
    """The same for ids that mean something elsewhere, and for those of the greatest length."""
    entry = Entry(member_id, MAX_WEIGHT, 7, NONCE)
    assert Entry.parse(entry.name) == entry
    assert "/" not in entry.name
    assert entry.name.isprintable()
    assert entry.name.isascii()


@given(one=entries, other=entries)
def test_different_entries_have_different_names(one: Entry, other: Entry) -> None:
    """A name belongs to one incarnation of one member."""
    assert (one.name == other.name) == (one == other)


def test_name_is_the_documented_one() -> None:
    """Pinned: members of other versions read it."""
    assert Entry("a;b/c", 3, 12, NONCE).name == f"a%3Bb%2Fc;3;12;{NONCE}"
    assert Entry("..", 1, 1, NONCE).name == f"%2E%2E;1;1;{NONCE}"


def test_names_are_short() -> None:
    """The longest id that is allowed makes a name that fits into a server's answers many times over."""
    assert len(Entry("\ud800" * (MAX_ID_BYTES // 3), MAX_WEIGHT, MAX_INCARNATION, NONCE).name) < 3_200


almost: Final = st.lists(
    st.sampled_from(
        [";", "%", "%2", "%2E", "%2e", "%41", "%FF", "%ED%A0%80", "%C3", ".", "..", "a", "é", "/", " ", "\n", "0", "1",
         "01", "9999", "1000", "1001", "-1", "+1", "1_0", "٣", "²", NONCE, NONCE.upper(), NONCE[1:], NONCE + "0"]
    ),
    max_size=9,
).map("".join)  # fmt: skip

mutated: Final = st.builds(
    lambda entry, at, cut, put: entry.name[: at % len(entry.name)] + put + entry.name[at % len(entry.name) + cut :],
    entries,
    st.integers(0, 10_000),
    st.integers(0, 2),
    st.text(alphabet=string.printable + "é٣\0", max_size=2),
)


@given(name=st.one_of(st.text(), almost, mutated))
@settings(max_examples=500)
@example(f"a;1;1;{NONCE}\n")
@example(f"%61;1;1;{NONCE}")
@example(f"%2e;1;1;{NONCE}")
@example(f".;1;1;{NONCE}")
def test_any_name_is_an_entry_or_none(name: str) -> None:
    """Exactly one spelling: what is taken for an entry has that very name, and is within bounds."""
    entry = Entry.parse(name)
    if entry is not None:
        assert entry.name == name
        assert entry.member_id
        assert 0 <= entry.weight <= MAX_WEIGHT
        assert 0 <= entry.incarnation <= MAX_INCARNATION
        assert re.fullmatch("[0-9a-f]{16}", entry.nonce)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ";",
        ";;;",
        "a",
        f";1;1;{NONCE}",
        f"a;1;1;{NONCE};",
        f"a;1;1;{NONCE};x",
        f"a;b;1;1;{NONCE}",
        f"a;1;{NONCE}",
        "a;1;1;",
        f"a;1;1;{NONCE[:-1]}",
        f"a;1;1;{NONCE}0",
        f"a;1;1;{NONCE.upper()}",
        f"a;1;1;{NONCE[:-1]}g",
        f"a;1;1;{NONCE}\n",
        f"\na;1;1;{NONCE}",
        f" a;1;1;{NONCE}",
        # weights
        f"a;00;1;{NONCE}",
        f"a;-0;1;{NONCE}",
        f"a;-1;1;{NONCE}",
        f"a;+1;1;{NONCE}",
        f"a;01;1;{NONCE}",
        f"a;1.0;1;{NONCE}",
        f"a; 1;1;{NONCE}",
        f"a;1_0;1;{NONCE}",
        f"a;٣;1;{NONCE}",
        f"a;{MAX_WEIGHT + 1};1;{NONCE}",
        f"a;9999;1;{NONCE}",
        f"a;10000;1;{NONCE}",
        f"a;{'9' * 5000};1;{NONCE}",
        # incarnations
        f"a;1;-1;{NONCE}",
        f"a;1;01;{NONCE}",
        f"a;1;00;{NONCE}",
        f"a;1;1e3;{NONCE}",
        f"a;1;٣;{NONCE}",
        f"a;1;{MAX_INCARNATION + 1};{NONCE}",
        f"a;1;{'9' * 5000};{NONCE}",
        # ids: other spellings, bytes that are no text, characters that would have been quoted
        f"%61;1;1;{NONCE}",
        f"a%2fb;1;1;{NONCE}",
        f"%2e;1;1;{NONCE}",
        f".;1;1;{NONCE}",
        f"..;1;1;{NONCE}",
        f"a%2Eb;1;1;{NONCE}",
        f"%;1;1;{NONCE}",
        f"%2;1;1;{NONCE}",
        f"%ZZ;1;1;{NONCE}",
        f"%FF;1;1;{NONCE}",
        f"%C3;1;1;{NONCE}",
        f"%C0%AF;1;1;{NONCE}",
        f"a+b;1;1;{NONCE}",
        f"é;1;1;{NONCE}",
        f"a b;1;1;{NONCE}",
        f"a/b;1;1;{NONCE}",
        f"{'a' * 5000};1;1;{NONCE}",
    ],
    ids=lambda name: ascii(name)[:30],
)
def test_foreign_names_are_no_entries(name: str) -> None:
    """What this library would not write is not taken for a member."""
    assert Entry.parse(name) is None


@pytest.mark.parametrize("weight", [0, 1, 9, 10, 999, MAX_WEIGHT])
@pytest.mark.parametrize("incarnation", [0, 1, 10, MAX_INCARNATION])
def test_bounds_are_inclusive(weight: int, incarnation: int) -> None:
    """All weights that may be asked for, and every incarnation that can be counted to."""
    entry = Entry("a", weight, incarnation, NONCE)
    assert Entry.parse(entry.name) == entry


@given(one=entries, other=entries)
@example(Entry("a", 1, 9, NONCE), Entry("a", 1, 10, NONCE))
def test_seniority_goes_by_incarnation_then_nonce(one: Entry, other: Entry) -> None:
    """Numbers compare as numbers; whoever sees the same entries picks the same one."""
    assume((one.incarnation, one.nonce) != (other.incarnation, other.nonce))
    assert (one.seniority > other.seniority) == (
        one.incarnation > other.incarnation or (one.incarnation == other.incarnation and one.nonce > other.nonce)
    )


@given(entry=entries, weight=st.integers(1, MAX_WEIGHT))
@example(Entry("a", 2, 1, NONCE), 10)
@example(Entry("a", 2, 1, NONCE), 20)
@example(Entry("a", 1, 1, NONCE), MAX_WEIGHT)
def test_entries_that_tie_are_told_apart_by_their_names(entry: Entry, weight: int) -> None:
    """No member would write the second one; but then all must agree which of them counts."""
    other = replace(entry, weight=weight)
    assert (entry.seniority > other.seniority) == (entry.name > other.name)
    assert (entry.seniority == other.seniority) == (entry == other)


@given(member_id=any_id)
def test_ids_are_quoted_as_rfc_3986_says(member_id: str) -> None:
    """What any other language's percent-encoding gives, so that others can read and write entries."""
    assume(member_id not in (".", ".."))
    assert quote_component(member_id) == quote(member_id.encode("utf-8", "surrogatepass"), safe="")


# ---- numbers


@pytest.mark.parametrize("number", [0, 1, 9, 10, 4711, 2**63 - 1])
def test_a_number_has_one_spelling(number: int) -> None:
    """That in which it is written."""
    assert parse_number(str(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "²",
        "①",
        "٣",
        "１",
        "1" * 20,
        "1" * 4301,
        str(2**63),
        "-1",
        "+1",
        "01",
        "00",
        " 1",
        "1 ",
        "1\n",
        "1_0",
        "0x1",
        "1.0",
    ],
)
def test_what_is_no_number(text: str) -> None:
    """Digits of other scripts, other spellings of a number, and what no honest member writes."""
    assert parse_number(text) is None
