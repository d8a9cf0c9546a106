import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.importance import keep_globally, keep_per_layer, score_entries
from pruning_afo.masks import Mask, mask_of_indices

SHAPES = {"a": (2, 2), "b": (3,)}
W = {"a": np.float32([[1, -4], [0.5, 2]]), "b": np.float32([-3, 0.25, 8])}
UPDATE = {"a": np.float32([[-9, 0.1], [2, 1]]), "b": np.float32([1, 20, 0])}


def kept(mask):
    return {name: np.flatnonzero(kept).tolist() for name, kept in mask.is_kept.items()}


@pytest.mark.parametrize(
    ("importance", "expected"),
    [
        ("weight", {"a": [1, 3], "b": [0, 2]}),
        ("gradient", {"a": [0, 2], "b": [0, 1]}),
        # |w g| is 9, .4, 1, 2 and 3, 5, 0.
        ("taylor", {"a": [0, 3], "b": [0, 1]}),
    ],
)
def test_each_importance_by_hand(importance, expected):
    scores = score_entries(importance, W, UPDATE)
    assert kept(keep_per_layer(Mask.full(SHAPES), scores, {"a": 2, "b": 2})) == expected


def test_all_entries_ranked_together_by_hand():
    """Of 9, .4, 1, 2, 3, 5, 0 the largest three."""
    scores = score_entries("taylor", W, UPDATE)
    assert kept(keep_globally(Mask.full(SHAPES), scores, 3 / 7)) == {"a": [0], "b": [0, 1]}


def test_each_parameter_keeps_its_largest_entry():
    scores = {"a": np.float32([[5, 6], [-7, 8]]), "b": np.float32([0.1, -0.3, 0.2])}
    assert kept(keep_globally(Mask.full(SHAPES), scores, 2 / 7)) == {"a": [3], "b": [1]}
    assert kept(keep_globally(Mask.full(SHAPES), scores, 3 / 7)) == {"a": [2, 3], "b": [1]}
    assert kept(keep_globally(Mask.full(SHAPES), scores, 1e-9)) == {"a": [3], "b": [1]}


def test_what_is_pruned_stays_pruned():
    """Entry 1 of a, and 2 of b, have the largest scores."""
    mask = mask_of_indices(SHAPES, [np.array([0, 2]), np.array([1])])
    assert kept(keep_per_layer(mask, W, {"a": 1, "b": 2})) == {"a": [0], "b": [1]}
    assert kept(keep_globally(mask, W, 6 / 7)) == {"a": [0, 2], "b": [1]}
    assert kept(keep_globally(mask, W, 2 / 7)) == {"a": [0], "b": [1]}


def test_ties_go_to_the_lowest_index():
    zeros = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    mask = Mask.full(SHAPES)
    assert kept(keep_per_layer(mask, zeros, {"a": 2, "b": 1})) == {"a": [0, 1], "b": [0]}
    assert kept(keep_globally(mask, zeros, 3 / 7)) == {"a": [0, 1], "b": [0]}


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1))
def test_a_global_ranking_is_that_of_a_sort(seed, density):
    rng = np.random.default_rng(seed)
    shapes = {"a": (5, 4), "b": (30,)}
    scores = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    mask = Mask({name: rng.random(shape) < 0.8 for name, shape in shapes.items()})
    pruned = keep_globally(mask, scores, density)
    count = min(max(round(density * 50), 2), sum(mask.counts.values()))
    assert sum(pruned.counts.values()) == count
    magnitude = np.concatenate([np.abs(scores[name]).ravel() for name in shapes])
    before = np.concatenate([mask.is_kept[name].ravel() for name in shapes])
    after = np.concatenate([pruned.is_kept[name].ravel() for name in shapes])
    assert not (after & ~before).any()
    # All that was kept beside the one that each parameter keeps anyway is above all that was not.
    for name in shapes:
        own = np.where(mask.is_kept[name], np.abs(scores[name]), -1)
        assert pruned.is_kept[name].ravel()[own.argmax()]
    worst = np.sort(magnitude[after])[2 - count :] if count > 2 else magnitude[:0]
    lost = magnitude[before & ~after]
    assert not len(worst) or not len(lost) or worst.min() >= lost.max()
