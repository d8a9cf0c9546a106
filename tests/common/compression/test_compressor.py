import itertools
from typing import get_args

import numpy as np
import pytest

from common.compression import wire
from common.compression.compressor import Compressor, make_compressor
from common.compression.density import DensitySchedule
from common.compression.entropy import information_bound
from common.compression.options import QuantiserName, SparsifierName
from common.compression.quantisers import BFloat16, Float16, Float32, Int8, Sign
from common.compression.sparsifiers import GlobalTopK, Keep, RandomK, Threshold, TopK

KEYS = {
    "threshold": 0.5,
    "density": 0.1,
    "warmup_rounds": 3,
    "int8_rounding": "stochastic",
    "int8_scale": "per_row",
    "scaled": True,
}
UPDATE = {
    "w": np.random.default_rng(0).standard_normal((20, 30), dtype=np.float32),
    "scale": np.array(0.25, dtype=np.float32),
    "frozen": np.zeros(7, dtype=np.float32),
    "empty": np.zeros((0, 4), dtype=np.float32),
}


def compress(compressor, update=UPDATE, round_=1, seed=0):
    return compressor.compress(update, round_, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("sparsifier", "quantiser"),
    itertools.product(get_args(SparsifierName), get_args(QuantiserName)),
)
def test_what_is_sent_is_what_the_receiver_decodes(sparsifier, quantiser):
    compressor = make_compressor(sparsifier, quantiser, **KEYS)
    for round_ in (1, 9):
        compressed = compress(compressor, round_=round_)
        decoded = wire.decode(compressed.payload, {name: w.shape for name, w in UPDATE.items()})
        chosen = compressor.sparsifier.sparsify(UPDATE, round_, np.random.default_rng(0))
        assert list(compressed.sent) == list(UPDATE)
        for name, sent in compressed.sent.items():
            np.testing.assert_array_equal(sent.to_dense(), decoded[name].to_dense())
            np.testing.assert_array_equal(sent.indices, chosen[name].indices)
        assert information_bound(chosen, compressor.quantiser) <= len(compressed.payload)


def test_entries_that_were_not_chosen_are_not_sent_even_if_the_payload_has_them():
    update = {"w": np.arange(1, 1001, dtype=np.float32)}
    schedule = DensitySchedule(0.999)
    compressed = compress(Compressor(TopK(schedule), Float32()), update)
    assert wire.decode(compressed.payload, {"w": (1000,)})["w"].indices is None
    np.testing.assert_array_equal(compressed.sent["w"].indices, np.arange(1, 1000))
    np.testing.assert_array_equal(compressed.sent["w"].values, update["w"][1:])


def test_the_update_stays_as_it_is():
    before = {name: values.copy() for name, values in UPDATE.items()}
    compressed = compress(Compressor(Keep(), Float32()))
    for name, values in UPDATE.items():
        np.testing.assert_array_equal(values, before[name])
        assert not np.shares_memory(values, compressed.sent[name].values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sparsifier", get_args(SparsifierName))
def test_it_names_a_tensor_that_is_not_finite(sparsifier, bad):
    update = {**UPDATE, "broken": np.array([1, bad, 2], dtype=np.float32)}
    with pytest.raises(ValueError, match=r"^'broken' has a value that is not finite"):
        compress(make_compressor(sparsifier, "float32", **KEYS), update)


def test_entries_whose_squares_overflow_are_finite():
    update = {"w": np.full(100, 3e38, dtype=np.float32)}
    assert compress(Compressor(Keep(), Float32()), update).sent["w"].values.tolist() == (
        update["w"].tolist()
    )


def test_sparsifiers_of_a_configuration():
    schedule = DensitySchedule(0.1, 3)
    sparsifiers = {
        name: make_compressor(name, "float32", **KEYS).sparsifier
        for name in get_args(SparsifierName)
    }
    assert sparsifiers == {
        "none": Keep(),
        "threshold": Threshold(0.5),
        "top_k": TopK(schedule),
        "global_top_k": GlobalTopK(schedule),
        "random_k": RandomK(schedule, scaled=True),
    }


def test_quantisers_of_a_configuration():
    quantisers = {
        name: type(make_compressor("none", name, **KEYS).quantiser)
        for name in get_args(QuantiserName)
    }
    assert quantisers == {
        "float32": Float32,
        "float16": Float16,
        "bfloat16": BFloat16,
        "int8": Int8,
        "sign": Sign,
    }


def test_int8_of_a_configuration():
    def values(rounding, scale, seed):
        keys = {**KEYS, "int8_rounding": rounding, "int8_scale": scale}
        update = {"w": np.array([[127, 0.4], [1.27, 1]], dtype=np.float32)}
        return compress(make_compressor("none", "int8", **keys), update, seed=seed).sent["w"].values

    np.testing.assert_allclose(values("nearest", "per_tensor", 0), [127, 0, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(values("nearest", "per_row", 0), [127, 0, 1.27, 1], rtol=1e-6)
    found = {float(values("stochastic", "per_tensor", seed)[1]) for seed in range(20)}
    assert found == {0.0, 1.0}
