import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import nn

from common.arrays import join, load_arrays, to_array, to_arrays, view

DTYPES = [np.float32, np.float64, np.float16, np.int64, np.int8, np.bool_]
ARRAYS = npst.arrays(
    st.sampled_from(DTYPES), npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
)


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@given(ARRAYS, st.sampled_from("CF"))
def test_an_array_is_flowers_to_the_byte(w, order):
    w = np.asarray(w, order=order)
    found, expected = to_array(w), Array(np.ascontiguousarray(w).reshape(w.shape))
    assert (found.dtype, found.shape, found.stype) == (
        expected.dtype,
        expected.shape,
        expected.stype,
    )
    assert found.data == expected.data


@given(ARRAYS, st.sampled_from("CF"))
def test_a_view_is_what_flower_reads(w, order):
    array = Array(np.asarray(w, order=order))
    found = view(array)
    np.testing.assert_array_equal(found, array.numpy())
    assert found.dtype == w.dtype
    assert found.shape == w.shape
    assert not found.flags.writeable


def test_a_view_copies_nothing():
    array = to_array(np.arange(10.0))
    assert np.shares_memory(view(array), np.frombuffer(array.data, np.uint8))


def test_a_view_of_something_else_is_refused():
    array = Array("float32", (2,), "numpy.ndarray", b"not an array at all")
    with pytest.raises(ValueError, match="magic string"):
        view(array)


def test_bytes_that_end_too_early_are_refused():
    array = to_array(np.arange(10.0))
    array.data = array.data[:-8]
    with pytest.raises(ValueError, match="reshape"):
        view(array)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_state_of_a_model_there_and_back(memory_format):
    torch.manual_seed(0)
    sender = network()
    sender[1].running_mean.normal_()
    sender[1].num_batches_tracked.fill_(3)
    arrays = to_arrays(sender.to(memory_format=memory_format))
    expected = ArrayRecord({k: t.contiguous() for k, t in sender.state_dict().items()})
    assert arrays == expected
    torch.manual_seed(1)
    receiver = network().to(memory_format=memory_format)
    strides = [p.stride() for p in receiver.parameters()]
    load_arrays(receiver, arrays)
    assert [p.stride() for p in receiver.parameters()] == strides
    for key, tensor in sender.state_dict().items():
        assert torch.equal(receiver.state_dict()[key], tensor)


def test_loading_writes_into_the_models_own_memory():
    model = nn.Linear(2, 1)
    before = model.weight.data_ptr()
    load_arrays(model, to_arrays(nn.Linear(2, 1)))
    assert model.weight.data_ptr() == before
    assert model.weight.requires_grad


def test_a_loaded_model_is_no_view_of_what_it_was_loaded_from():
    arrays = to_arrays(nn.Linear(2, 1))
    before = bytes(arrays["weight"].data)
    model = nn.Linear(2, 1)
    load_arrays(model, arrays)
    with torch.no_grad():
        model.weight.add_(1)
    assert arrays["weight"].data == before


def test_a_part_of_the_state_there_and_back():
    sender, receiver = network(), network()
    sender[1].running_mean.fill_(5)
    before = receiver[0].weight.clone()
    arrays = to_arrays({"1.running_mean": sender.state_dict()["1.running_mean"]})
    assert list(arrays) == ["1.running_mean"]
    load_arrays({"1.running_mean": receiver.state_dict()["1.running_mean"]}, arrays)
    assert receiver[1].running_mean.tolist() == [5] * 4
    assert torch.equal(receiver[0].weight, before)
    with pytest.raises(ValueError, match=r"the arrays are \['1.running_mean'\], but the model has"):
        load_arrays(receiver, arrays)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (nn.Linear(3, 1), r"weight has shape \(1, 3\), but the model's is torch.Size\(\[1, 2\]\)"),
        (nn.Linear(2, 1, bias=False), r"the arrays are \['weight'\], but the model has \['bias',"),
    ],
)
def test_the_state_of_another_model_is_refused(other, problem):
    with pytest.raises(ValueError, match=problem):
        load_arrays(nn.Linear(2, 1), to_arrays(other))


def test_arrays_that_are_views_of_a_workers_memory_are_joined_as_they_are():
    """Flower's own initialisers take nothing but bytes."""
    arrays = {key: to_array(np.float32([value])) for value, key in enumerate("abc")}
    shared = arrays["a"]
    shared.data = memoryview(shared.data)
    found = join(ArrayRecord(), {"b": arrays["b"], "a": shared}, {"c": arrays["c"]})
    assert list(found) == ["b", "a", "c"]
    assert all(found[key] is array for key, array in arrays.items())
    assert [view(array).tolist() for array in found.values()] == [[1.0], [0.0], [2.0]]
