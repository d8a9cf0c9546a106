import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.data.arrays import ChosenRows
from common.inputs import InMemory, OnDisk

CPU = torch.device("cpu")


def as_float(stored):
    return stored.to(torch.float32) / 255


@pytest.fixture
def memory_map(tmp_path):
    """Twenty stored images, as the cache gives them."""
    images = np.random.default_rng(0).integers(0, 256, (20, 2, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_a_tensor_is_indexed():
    x = torch.arange(12.0).reshape(4, 3)
    inputs = InMemory(x)
    assert len(inputs) == 4
    assert torch.equal(inputs.take(torch.tensor([2, 0, 2])), x[[2, 0, 2]])


@given(
    rows=st.lists(st.integers(0, 19), min_size=1, max_size=30), picks=st.lists(st.integers(0, 99))
)
def test_a_batch_is_the_prepared_rows_of_its_examples(rows, picks):
    """The rows of a client in any order, even with one twice."""
    stored = np.random.default_rng(0).integers(0, 256, (20, 2, 3), dtype=np.uint8)
    examples = np.array([pick % len(rows) for pick in picks], np.int64)
    inputs = OnDisk(stored, np.array(rows), CPU, as_float)
    assert len(inputs) == len(rows)
    found = inputs.take(torch.from_numpy(examples))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found, stored[rows][examples].astype(np.float32) / 255)


@pytest.mark.filterwarnings("error")  # PyTorch warns of memory that may not be written.
def test_rows_of_a_memory_map_are_copied(memory_map):
    inputs = OnDisk(memory_map, np.array([3, 1, 19]), CPU, lambda stored: stored.add_(1))
    before = memory_map[[19, 3]].copy()
    found = inputs.take(torch.tensor([2, 0]))
    np.testing.assert_array_equal(found, before + np.uint8(1))
    np.testing.assert_array_equal(memory_map[[19, 3]], before)


def test_chosen_rows_are_numbered_anew(memory_map):
    chosen = ChosenRows(memory_map, np.array([5, 0, 7, 7, 2]))
    inputs = OnDisk(chosen, np.array([4, 0, 3]), CPU, as_float)
    assert len(inputs) == 3
    found = inputs.take(torch.tensor([1, 0, 2]))
    np.testing.assert_array_equal(found, memory_map[[5, 2, 7]].astype(np.float32) / 255)


def test_nothing_is_read_or_prepared_before_it_is_asked_for():
    class Spy:
        def __init__(self):
            self.read = []

        def __len__(self):
            return 1_000_000

        def __getitem__(self, rows):
            self.read.append(rows.tolist())
            return np.zeros((len(rows), 2), np.uint8)

    spy, prepared = Spy(), []
    inputs = OnDisk(spy, np.array([7, 999_999]), CPU, lambda x: prepared.append(len(x)) or x)
    assert (len(inputs), spy.read, prepared) == (2, [], [])
    inputs.take(torch.tensor([1]))
    inputs.take(torch.tensor([1, 0]))
    assert (spy.read, prepared) == ([[999_999], [999_999, 7]], [1, 2])
