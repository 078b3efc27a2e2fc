"""The targets of the fuzzer under many inputs, and under each that was ever found to do harm."""

import json
import struct
import tracemalloc
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aiopartition.backends.zookeeper.frames import MAX_FRAME, MAX_SKIPPED, FrameSplitter, ProtocolError
from tests.fuzz.seeds import DICTIONARY, GOOD_FRAMES, SEEDS
from tests.fuzz.targets import FRAME_BORDER, TARGETS, challenge, document, entry_name, frames, url

MANY: Final = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def near(target: str) -> st.SearchStrategy[bytes]:
    """Good input with pieces cut out and others put in, or anything at all."""
    piece = st.one_of(st.sampled_from(DICTIONARY[target]), st.binary(max_size=8))

    def edit(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for place, length, put in edits:
            start = place % (len(seed) + 1)
            seed = seed[:start] + put + seed[start + length :]
        return seed

    edits = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 12), piece), max_size=6)
    return st.one_of(st.builds(edit, st.sampled_from(SEEDS[target]), edits), st.binary(max_size=200))


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_is_taken(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@given(data=near("entry_name"))
@MANY
@example(b"%ed%a0%80;1;1;0123456789abcdef")
def test_names_of_entries(data: bytes) -> None:
    entry_name(data)


@given(data=near("url"))
@MANY
def test_urls(data: bytes) -> None:
    url(data)


@given(data=near("challenge"))
@MANY
@example(b"")
def test_challenges(data: bytes) -> None:
    challenge(data)


values: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(data=near("document"))
@MANY
def test_documents(data: bytes) -> None:
    document(data)


@given(number=values, policy=values)
@MANY
@example(1, {"slots": {}})
@example(True, {"replicas": True})
def test_documents_of_other_programs(number: Any, policy: Any) -> None:
    document(json.dumps({"format": number, "policy": policy}).encode())
    document(json.dumps({"format": 1, "policy": {"slots": policy}}).encode())


@pytest.mark.parametrize(
    "policy", [{"x" * 400_000: 1}, {"slots": "m" * 400_000}, dict.fromkeys(map(str, range(99_999)))]
)
def test_documents_as_long_as_a_server_takes(policy: Any) -> None:
    document(json.dumps({"format": 1, "policy": policy}).encode())


@given(data=near("frames"))
@MANY
def test_frames(data: bytes) -> None:
    frames(data)


@given(cut=st.integers(0, 400), step=st.integers(0, 255), order=st.permutations(GOOD_FRAMES[1:]))
@MANY
def test_frames_that_are_cut_off(cut: int, step: int, order: list[bytes]) -> None:
    stream = b"".join([GOOD_FRAMES[0], *order])
    frames(bytes([255, step]) + stream[:cut])


@given(bodies=st.lists(st.binary(max_size=64), max_size=12), numbers=st.lists(st.integers(-5, 12), max_size=12))
@MANY
def test_answers_with_bodies_of_rubbish(bodies: list[bytes], numbers: list[int]) -> None:
    answers = [struct.pack("!iqi", number, 1, 0) + body for number, body in zip(numbers, bodies, strict=False)]
    frames(b"\x00\xff" + FRAME_BORDER.join([GOOD_FRAMES[0][4:], *answers]))


@given(size=st.integers(MAX_SKIPPED + 1, 0x7FFFFFFF), follows=st.binary(max_size=1000))
@settings(max_examples=50, deadline=None)
@example(0x7FFFFFFF, b"")
def test_a_long_frame_that_is_announced_is_not_made_room_for(size: int, follows: bytes) -> None:
    """2 GB of it, for example."""
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=f"a frame of {size} bytes|HTTP|TLS"):
            FrameSplitter().feed(struct.pack("!i", size) + follows)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@given(size=st.integers(1001, MAX_FRAME), follows=st.binary(max_size=1000))
@settings(max_examples=50, deadline=None)
def test_what_is_announced_takes_room_when_it_arrives(size: int, follows: bytes) -> None:
    tracemalloc.start()
    try:
        FrameSplitter().feed(struct.pack("!i", size) + follows)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
