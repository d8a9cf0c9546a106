import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.mask_coding import decode_mask, encode_mask
from pruning_afo.masks import Mask

SHAPES = {"b": (3, 3), "a": (40,), "c": (2, 2)}


def random_mask(seed, density):
    rng = np.random.default_rng(seed)
    return Mask({name: rng.random(shape) < density for name, shape in SHAPES.items()})


def sealed(content):
    return content + zlib.crc32(content).to_bytes(4, "little")


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
def test_what_is_decoded_is_what_was_encoded(seed, density):
    mask = random_mask(seed, density)
    decoded = decode_mask(encode_mask(mask), SHAPES)
    assert list(decoded.is_kept) == list(SHAPES)
    assert decoded.shapes == SHAPES
    assert decoded.difference(mask) == 0


def test_a_full_mask_is_a_byte_a_parameter():
    assert encode_mask(Mask.full(SHAPES)) == sealed(bytes(3))


def test_a_sparse_mask_weighs_about_its_entropy():
    rng = np.random.default_rng(0)
    mask = Mask({"w": rng.random((500, 200)) < 0.01})
    assert 8 * len(encode_mask(mask)) < 1.03 * 100_000 * 0.0808  # Bits of H(.01).


@pytest.mark.parametrize("place", range(len(encode_mask(random_mask(1, 0.3)))))
def test_damage_anywhere_is_refused(place):
    payload = bytearray(encode_mask(random_mask(1, 0.3)))
    payload[place] ^= 0x10
    with pytest.raises(ValueError, match="is damaged"):
        decode_mask(bytes(payload), SHAPES)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "have no coding"),
        (bytes([0, 0]), "have no coding"),
        (bytes([0, 0, 9]), "have no coding"),
        (bytes([0, 0, 0, 0]), "1 bytes longer"),
        (bytes([0, 0, 2, 5]), "more than its 4 entries"),
        (bytes([0, 0, 2, 2, 1, 0, 0, 0]), "end too early"),
        (bytes([0, 0, 2, 1, 4, 0, 0, 0]), "positions in 'c' that"),
        (bytes([0, 0, 2]), "positions in 'c' that"),
        (bytes([0, 0, 4, 1]), "positions in 'c' that"),
    ],
)
def test_what_is_no_mask_is_refused_however_well_sealed(content, what):
    with pytest.raises(ValueError, match=what):
        decode_mask(sealed(content), SHAPES)


@given(st.binary(max_size=40))
def test_foreign_bytes_make_a_mask_or_a_value_error(content):
    for payload in (content, sealed(content)):
        with suppress(ValueError):
            assert decode_mask(payload, SHAPES).shapes == SHAPES
