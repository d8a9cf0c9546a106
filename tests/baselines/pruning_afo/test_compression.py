import math

import numpy as np
import pytest
import torch
from pruning_afo.compression import compress_gradients, make_compression, make_quantiser

from common.compression.compressor import Compressor
from common.compression.density import DensitySchedule
from common.compression.error_feedback import ErrorFeedback
from common.compression.quantisers import BFloat16, Float16, Float32, Int8, Sign
from common.compression.sparsifiers import GlobalTopK, Keep, RandomK, Threshold, TopK


def rng(seed=0):
    return np.random.default_rng(seed)


def described(compressor):
    """Return what tells two compressors apart: quantisers are not compared by value."""
    quantiser = compressor.quantiser
    return compressor.sparsifier, type(quantiser), vars(quantiser)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, Compressor(Keep(), Float32())),
        ({"sparsifier": "threshold", "threshold": 0.5}, Compressor(Threshold(0.5), Float32())),
        (
            {"sparsifier": "top_k", "density": 0.001, "warmup_rounds": 1},
            Compressor(TopK(DensitySchedule(0.001, 1)), Float32()),
        ),
        (
            {"sparsifier": "global_top_k", "density": 0.1, "quantiser": "float16"},
            Compressor(GlobalTopK(DensitySchedule(0.1)), Float16()),
        ),
        (
            {"sparsifier": "random_k", "quantiser": "bfloat16"},
            Compressor(RandomK(DensitySchedule(0.01), scaled=True), BFloat16()),
        ),
        (
            {"quantiser": "int8", "int8_rounding": "stochastic", "int8_scale": "per_row"},
            Compressor(Keep(), Int8("stochastic", "per_row")),
        ),
        ({"quantiser": "sign"}, Compressor(Keep(), Sign())),
    ],
)
def test_keys_are_a_compressor(make_config, keys, expected):
    config = make_config(**keys)
    found = make_compression(config)
    assert described(found) == described(expected)
    assert described(Compressor(found.sparsifier, make_quantiser(config))) == described(expected)


def test_keys_are_error_feedback(make_config):
    keys = {"sparsifier": "random_k", "error_feedback": True}
    # Entries that were not drawn are kept: scaled, the others would be too large.
    expected = Compressor(RandomK(DensitySchedule(0.01), scaled=False), Float32())
    for more, values in (
        ({}, (0.0, True, math.inf)),
        ({"residual_momentum": 0.9, "factor_masking": False, "clip_norm": 2.5}, (0.9, False, 2.5)),
    ):
        found = make_compression(make_config(**keys, **more))
        assert described(found.compressor) == described(expected)
        assert found == ErrorFeedback(found.compressor, *values)


def corrected(config, *gradients, server_round=1, seed=0):
    tensors = [torch.tensor(g) for g in gradients]
    compress_gradients(config, server_round, rng(seed))(tensors)
    return [g.tolist() for g in tensors]


def test_gradients_become_what_a_receiver_decodes(make_config):
    keys = {"sparsifier": "threshold", "threshold": 1.0, "compress_local_gradients": True}
    assert corrected(make_config(**keys), [[0.5, -2.0], [1.0, 0.0]], [0.25]) == [
        [[0.0, -2.0], [1.0, 0.0]],
        [0.0],
    ]
    # And of the others 8 bits are kept, of each tensor with a scale of its own.
    (first, second) = corrected(
        make_config(**keys, quantiser="int8"), [[0.5, -254.0], [3.4, 0.0]], [1.5]
    )
    assert first == [[0.0, -254.0], [4.0, 0.0]]
    assert second == pytest.approx([1.5])


def test_the_density_of_gradients_is_that_of_the_round(make_config):
    config = make_config(
        sparsifier="top_k", density=0.01, warmup_rounds=1, compress_local_gradients=True
    )
    gradient = [float(i) for i in range(1, 101)]
    kept = [
        np.count_nonzero(corrected(config, gradient, server_round=round_)[0]) for round_ in (1, 2)
    ]
    assert kept == [10, 1]


def test_every_step_draws_anew_and_as_the_generator_says(make_config):
    config = make_config(sparsifier="random_k", density=0.5, compress_local_gradients=True)
    ones = [1.0] * 100
    first, again, other = (corrected(config, ones, ones, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first[0] != first[1]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_may_be_channels_last(make_config, memory_format):
    config = make_config(sparsifier="top_k", density=0.1, compress_local_gradients=True)
    gradient = torch.arange(-60.0, 60.0).reshape(2, 3, 4, 5)
    expected = torch.where(gradient.abs() >= 54.5, gradient, 0)
    expected[0, 0, 0, 6:] = 0
    tensor = gradient.clone(memory_format=memory_format)
    compress_gradients(config, 1, rng())([tensor])
    assert np.count_nonzero(tensor) == 12
    kept = tensor != 0
    assert torch.equal(tensor[kept], gradient[kept])
    assert gradient.abs()[kept].min() >= gradient.abs()[~kept].max()


def test_a_gradient_that_is_not_finite_is_refused(make_config):
    config = make_config(quantiser="int8", compress_local_gradients=True)
    with pytest.raises(ValueError, match="not finite"):
        corrected(config, [1.0, math.nan])
