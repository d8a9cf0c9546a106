import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.masks import (
    Mask,
    erdos_renyi_counts,
    mask_of_indices,
    prunable_parameters,
    uniform_counts,
)
from tiny_pruning import PRUNABLE, tiny_net
from torch import nn

SHAPES = {"a": (2, 3), "b": (4,)}
MASK = mask_of_indices(SHAPES, [np.array([0, 4, 5]), np.array([2])])
TENSORS = {
    "a": np.arange(1, 7, dtype=np.float32).reshape(2, 3),
    "b": np.arange(10, 14, dtype=np.float32),
    "bias": np.float32([7, 8]),
}
shapes = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple),
    min_size=1,
)
densities = st.floats(1e-3, 1.0)


def test_what_may_be_pruned():
    assert prunable_parameters(tiny_net()) == PRUNABLE


def test_a_resnets_shortcuts_may_be_pruned_its_norms_may_not():
    from torchvision.models import resnet18

    names = prunable_parameters(resnet18(num_classes=10))
    assert "layer2.0.downsample.0.weight" in names
    assert not {"conv1.weight", "fc.weight", "bn1.weight", "layer1.0.bn1.weight"} & names.keys()
    assert len(names) == 19


def test_a_model_with_nothing_to_prune_is_refused():
    with pytest.raises(ValueError, match="nothing to prune"):
        prunable_parameters(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 3)))


def test_packed_tensors_by_hand():
    packed = MASK.pack(TENSORS)
    assert {name: values.tolist() for name, values in packed.items()} == {
        "a": [1, 5, 6],
        "b": [12],
        "bias": [7, 8],
    }
    whole = {"a": (2, 3), "b": (4,), "bias": (2,)}
    assert MASK.packed_shapes(whole) == {"a": (3,), "b": (1,), "bias": (2,)}
    for tensors in (MASK.unpack(packed), MASK.apply(TENSORS)):
        assert tensors["a"].tolist() == [[1, 0, 0], [0, 5, 6]]
        assert tensors["b"].tolist() == [0, 0, 12, 0]
        assert tensors["bias"] is TENSORS["bias"]


def test_what_is_pruned_has_no_sign():
    negative = Mask({"a": np.array([False, True])}).apply({"a": np.float32([-1, -1])})["a"]
    assert np.signbit(negative).tolist() == [False, True]


def test_density_counts_and_difference_by_hand():
    assert MASK.counts == {"a": 3, "b": 1}
    assert MASK.density == 0.4
    assert MASK.difference(MASK) == 0
    assert MASK.difference(Mask.full(SHAPES)) == 6
    assert Mask.full(SHAPES).density == 1


def test_uniform_counts_by_hand():
    assert uniform_counts({"a": (10, 10), "b": (7,), "c": (3,)}, 0.1) == {"a": 10, "b": 1, "c": 1}


def test_erdos_renyi_counts_by_hand():
    """Densities go by 20/100 and 12/20: a factor f with 20 f + 12 f = 60 of 120 is 1.875.

    That is more than all of b, which is dense; a has the other 40.
    """
    assert erdos_renyi_counts({"a": (10, 10), "b": (2, 10)}, 0.5) == {"a": 40, "b": 20}
    # 20 f + 12 f = 24: f = .75.
    assert erdos_renyi_counts({"a": (10, 10), "b": (2, 10)}, 0.2) == {"a": 15, "b": 9}


@given(shapes, densities)
def test_erdos_renyi_layers_add_up_to_the_density_of_all(shapes, density):
    counts = erdos_renyi_counts(shapes, density)
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    assert all(1 <= counts[name] <= size for name, size in sizes.items())
    # One entry at least, and half an entry of rounding, of each layer.
    assert abs(sum(counts.values()) - density * sum(sizes.values())) <= len(shapes)
    ratio = {name: counts[name] / sum(shape) for name, shape in shapes.items()}
    sparse = [name for name in shapes if 1 < counts[name] < sizes[name]]
    assert all(
        abs(ratio[a] - ratio[b]) <= 0.5 / sum(shapes[a]) + 0.5 / sum(shapes[b]) + 1e-9
        for a in sparse
        for b in sparse
    )


@given(shapes, st.integers(0, 2**32 - 1), densities)
def test_what_is_packed_and_unpacked_is_what_was_masked(shapes, seed, density):
    rng = np.random.default_rng(seed)
    mask = Mask({name: rng.random(shape) < density for name, shape in shapes.items()})
    tensors = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    unpacked, masked = mask.unpack(mask.pack(tensors)), mask.apply(tensors)
    for name in shapes:
        np.testing.assert_array_equal(unpacked[name], masked[name])
        assert np.count_nonzero(masked[name]) == mask.counts[name]
