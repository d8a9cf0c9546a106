import numpy as np
import pytest
from flwr.app import ArrayRecord, RecordDict
from pruning_afo.masks import Mask, mask_of_indices
from pruning_afo.packed import (
    TASK,
    PruningTask,
    decode_tensors,
    encode_tensors,
    mask_of_record,
    mask_to_record,
)

from common.arrays import to_array
from common.compression.quantisers import Float32, Int8

SHAPES = {"w": (3, 2), "none": (0,), "b": (2,)}
TENSORS = {
    "w": np.float32([[1, -2], [0, 4], [5, 6]]),
    "none": np.zeros(0, np.float32),
    "b": np.float32([7, 8]),
}
RNG = np.random.default_rng(0)


def test_what_is_decoded_is_what_was_encoded():
    decoded = decode_tensors(encode_tensors(TENSORS, Float32(), RNG), SHAPES)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(decoded[name], tensor)


def test_tensors_that_lie_otherwise_in_memory_are_the_same_tensors():
    other = {**TENSORS, "w": np.asfortranarray(TENSORS["w"])}
    one, two = (encode_tensors(tensors, Int8(), RNG) for tensors in (TENSORS, other))
    assert one["payload"].data == two["payload"].data


def test_what_is_not_finite_is_named():
    with pytest.raises(ValueError, match="'b'"):
        encode_tensors({**TENSORS, "b": np.float32([1, np.nan])}, Float32(), RNG)


@pytest.mark.parametrize(
    "record",
    [
        ArrayRecord(),
        ArrayRecord({"payload": to_array(np.zeros(9, np.float32))}),
        ArrayRecord({"payload": to_array(np.zeros(9, np.uint8))}),
        encode_tensors({**TENSORS, "b": np.zeros(3, np.float32)}, Float32(), RNG),
    ],
)
def test_a_record_of_something_else_is_refused(record):
    with pytest.raises(ValueError, match=r"^(has|is|ends) "):
        decode_tensors(record, SHAPES)
    with pytest.raises(ValueError, match=r"^(has|is) "):
        mask_of_record(record, SHAPES)


def test_a_mask_comes_back():
    shapes = {"w": (3, 2), "b": (2,)}
    mask = mask_of_indices(shapes, [np.array([1, 4]), np.array([0])])
    assert mask_of_record(mask_to_record(mask), shapes).difference(mask) == 0
    assert mask_of_record(mask_to_record(mask), shapes).difference(Mask.full(shapes)) == 5


@pytest.mark.parametrize("task", [PruningTask(), PruningTask(0.25), PruningTask(0.0, True)])
def test_a_task_comes_back(task):
    assert PruningTask.of(RecordDict({TASK: task.to_record()})) == task


def test_who_is_asked_nothing_has_no_task():
    assert PruningTask.of(RecordDict()) == PruningTask()
