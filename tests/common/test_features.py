from itertools import chain

import numpy as np
import pytest
import torch

from common.errors import UserInputError
from common.features import cached_features

NUM_EXAMPLES, CHUNK = 23, 5


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where features go in this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_frozen_layers():
    """Return layers that make of example i the row [i, 2 i]."""
    return lambda examples: torch.stack([examples, 2 * examples], dim=1).float().numpy()


def features(make=make_frozen_layers, key="key", num_examples=NUM_EXAMPLES):
    return cached_features(
        make, key, num_examples=num_examples, num_rows=num_examples, row_shape=(2,), chunk=CHUNK
    )


def never():
    raise AssertionError("computed again")


def test_features_are_the_layers_output_in_the_examples_order():
    found = features()
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert (found.dtype, found.shape) == (np.float32, (NUM_EXAMPLES, 2))
    np.testing.assert_array_equal(found, np.outer(np.arange(NUM_EXAMPLES), [1, 2]))


def test_an_example_may_have_any_number_of_rows():
    """Example i has i % 3 of them."""

    def make():
        return lambda examples: np.repeat(examples.numpy(), examples.numpy() % 3, axis=0).astype(
            np.float32
        )

    expected = np.repeat(np.arange(7), np.arange(7) % 3)
    found = cached_features(
        make, "key", num_examples=7, num_rows=len(expected), row_shape=(), chunk=2
    )
    np.testing.assert_array_equal(found, expected)


def test_they_are_computed_once():
    first = features()
    np.testing.assert_array_equal(features(never), first)


def test_another_key_has_other_features():
    def make_others():
        return lambda examples: -make_frozen_layers()(examples)

    first = features(key="first")
    np.testing.assert_array_equal(features(make_others, key="other"), -first)
    np.testing.assert_array_equal(features(never, key="first"), first)


def test_layers_that_are_refused_are_so_before_anything_is_done(cache, capsys):
    def refused():
        raise UserInputError("weights='w.pth' is not allowed.")

    with pytest.raises(UserInputError):
        features(refused)
    assert capsys.readouterr() == ("", "")
    assert [file for file in cache.rglob("*") if file.suffix != ".lock"] == [cache / "flowerbed"]
    features()
    assert "features" in capsys.readouterr().err


def test_examples_are_taken_a_chunk_at_a_time_without_gradients():
    asked, modes = [], set()

    def make():
        def spy(examples):
            asked.append(examples.tolist())
            modes.add(torch.is_grad_enabled())
            return make_frozen_layers()(examples)

        return spy

    features(make)
    assert sorted(map(len, asked)) == [3, CHUNK, CHUNK, CHUNK, CHUNK]
    assert sorted(chain(*asked)) == list(range(NUM_EXAMPLES))
    assert modes == {False}


def test_one_example_has_features():
    assert features(num_examples=1).tolist() == [[0, 0]]
