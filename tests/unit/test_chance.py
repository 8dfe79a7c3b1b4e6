"""Ids drawn by chance, in bulk."""

import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.usage import text_of_id
from meterhouse.server.chance import RandomIds


@given(st.integers(0, 2**32), st.lists(st.integers(0, 600), max_size=6))
def test_ids_are_uuids_of_version_4(seed: int, counts: list[int]) -> None:
    """However many are asked for at a time, each is a version 4 UUID, has its own text, and is given once."""
    ids = RandomIds(random.Random(seed).randbytes)
    given_ids: list[bytes] = []
    for count in counts:
        taken = ids(count)
        assert len(taken.octets) == count
        assert list(taken.texts) == [text_of_id(each) for each in taken.octets]
        given_ids += taken.octets
    assert {uuid.UUID(bytes=each).version for each in given_ids} <= {4}
    assert {uuid.UUID(bytes=each).variant for each in given_ids} <= {uuid.RFC_4122}
    assert len(set(given_ids)) == len(given_ids)


def test_all_other_bits_are_chance() -> None:
    """Of the 128 bits of an id six are fixed, and each of the others is as often 0 as 1."""
    counts = [0] * 128
    number = 4096
    for octets in RandomIds(random.Random(1).randbytes)(number).octets:
        for place, bit in enumerate(f"{int.from_bytes(octets, 'big'):0128b}"):
            counts[place] += bit == "1"
    fixed = {place: count for place, count in enumerate(counts) if count in (0, number)}
    assert fixed == {48: 0, 49: number, 50: 0, 51: 0, 64: number, 65: 0}
    assert all(abs(count - number / 2) < number / 16 for place, count in enumerate(counts) if place not in fixed)


def test_a_single_id_as_text() -> None:
    """A request's id is one of them, as clients see it."""
    text = RandomIds().text()
    assert str(uuid.UUID(text)) == text
