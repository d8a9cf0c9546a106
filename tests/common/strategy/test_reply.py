import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import example, given
from hypothesis import strategies as st

from common.arrays import to_arrays
from common.protocol import ARRAYS, METRICS, NUM_EXAMPLES, TrainInstruction, train_reply
from common.strategy.reply import (
    BadReplyError,
    read_metrics,
    read_reply,
    read_sent,
    require_model,
)

N_K = 7


def record(**arrays):
    return ArrayRecord({key: Array(np.asarray(array)) for key, array in arrays.items()})


def make_message(w_global=None):
    content = TrainInstruction(1, 1, 0.0).to_content(w_global or W)
    return Message(content, 5, "train")


W = record(w=np.float32([[1, 2, 3], [4, 5, 6]]), b=np.float32([0, 0]))


def read(w_k, w_global=W, n_k=N_K, reported=N_K):
    return read_reply(train_reply(make_message(w_global), w_k, reported), w_global, n_k)


def fault(w_k, w_global=W, **numbers):
    with pytest.raises(BadReplyError) as caught:
        read(w_k, w_global, **numbers)
    return str(caught.value)


def fault_of_content(content):
    with pytest.raises(BadReplyError) as caught:
        read_reply(Message(content, reply_to=make_message()), W, N_K)
    return str(caught.value)


def test_a_good_reply_is_its_model():
    w_k = record(w=np.float32([[0, -1, 2], [0, 1e-30, 3e38]]), b=np.float32([7, 8]))
    assert read(w_k) is w_k


def test_the_order_of_the_tensors_does_not_matter():
    w_k = record(b=np.float32([7, 8]), w=np.zeros((2, 3), np.float32))
    assert read(w_k) is w_k


def test_no_examples_are_a_number_of_examples():
    assert read(W, n_k=0, reported=0) is W


@pytest.mark.parametrize(
    "tensor",
    [
        np.array(3.5, np.float32),
        np.array(3, np.int64),
        np.zeros((0,), np.float32),
        np.zeros((2, 0, 3), np.float64),
        np.array([-(2**63), 2**63 - 1]),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([True, False]),
        np.float16([1, 65504]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ],
    ids=lambda tensor: f"{tensor.dtype}{list(tensor.shape)}",
)
def test_every_kind_of_tensor_may_be_in_a_model(tensor):
    w_global, w_k = record(w=np.zeros_like(tensor)), record(w=tensor)
    assert read(w_k, w_global) is w_k


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_finite_numbers_whose_sum_overflows_are_fine(dtype, recwarn):
    w = np.full(1000, np.finfo(dtype).max)
    w_k = record(w=w)
    assert read(w_k, record(w=np.zeros_like(w))) is w_k
    assert not recwarn.list


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0), (1, 2)])
def test_a_number_that_is_not_finite_is_a_fault(bad, where):
    w = np.zeros((2, 3), np.float32)
    w[where] = bad
    w_k = record(w=w, b=np.zeros(2, np.float32))
    assert fault(w_k) == "its 'w' holds a number that is not finite"


@pytest.mark.parametrize("buffer", ["running_mean", "running_var"])
def test_a_number_in_a_buffer_that_is_not_finite_is_a_fault(buffer):
    layer = torch.nn.BatchNorm1d(3)
    w_global = to_arrays(layer)
    layer.state_dict()[buffer][1] = np.nan
    assert fault(to_arrays(layer), w_global) == f"its {buffer!r} holds a number that is not finite"


def test_infinities_that_cancel_in_the_sum_are_a_fault():
    w_k = record(w=np.float32([[np.inf, -np.inf, 0], [0, 0, 0]]), b=np.zeros(2, np.float32))
    assert "not finite" in fault(w_k)


def test_an_error_is_its_reason():
    reason = "ValueError: no such file\nTraceback ..."
    reply = Message(Error(2, reason), reply_to=make_message())
    with pytest.raises(BadReplyError) as caught:
        read_reply(reply, W, N_K)
    assert str(caught.value) == reason


def test_an_error_may_have_no_reason():
    reply = Message(Error(2), reply_to=make_message())
    with pytest.raises(BadReplyError, match=r"^it gave no reason$"):
        read_reply(reply, W, N_K)


def test_a_missing_record_is_a_fault():
    metrics = MetricRecord({NUM_EXAMPLES: N_K})
    assert fault_of_content(RecordDict()) == "its reply has no 'arrays'"
    assert fault_of_content(RecordDict({METRICS: metrics})) == "its reply has no 'arrays'"
    assert fault_of_content(RecordDict({ARRAYS: W})) == "its reply has no 'metrics'"


def test_a_record_of_another_kind_is_a_missing_one():
    metrics, config = MetricRecord({NUM_EXAMPLES: N_K}), ConfigRecord({NUM_EXAMPLES: N_K})
    assert "no 'arrays'" in fault_of_content(RecordDict({ARRAYS: config, METRICS: metrics}))
    assert "no 'metrics'" in fault_of_content(RecordDict({ARRAYS: W, METRICS: config}))
    assert "no 'arrays'" in fault_of_content(RecordDict({ARRAYS: metrics, METRICS: W}))


@pytest.mark.parametrize(
    ("reported", "said"),
    [
        (N_K + 1, "8"),
        (0, "0"),
        (-N_K, "-7"),
        (7.0, "7.0"),
        (float("nan"), "nan"),
        ([7], "[7]"),
        (10**300, "1" + 49 * "0"),
    ],
)
def test_another_number_of_examples_is_a_fault(reported, said):
    assert fault(W, reported=reported) == f"it reports {said} examples, but has 7"


def test_no_number_of_examples_is_a_fault():
    content = RecordDict({ARRAYS: W, METRICS: MetricRecord({"num_examples": N_K})})
    assert fault_of_content(content) == "it reports None examples, but has 7"


def metrics_of(names=("test-accuracy",), **metrics):
    metrics = {name.replace("_", "-"): value for name, value in metrics.items()}
    return read_metrics(train_reply(make_message(), W, N_K, metrics), names)


def test_the_metrics_are_those_asked_for():
    assert metrics_of(test_accuracy=0.5, test_loss=2.0) == {"test-accuracy": 0.5}
    assert metrics_of(("test-loss", "steps"), steps=3, test_loss=-2.5) == {
        "test-loss": -2.5,
        "steps": 3,
    }
    assert metrics_of(()) == {}


def test_a_missing_metric_is_a_fault():
    with pytest.raises(BadReplyError, match=r"^it reports no 'test-accuracy'$"):
        metrics_of(test_loss=2.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 10**400, -(10**400), [0.5], [1]])
def test_a_metric_that_is_no_finite_number_is_a_fault(value):
    with pytest.raises(BadReplyError) as caught:
        metrics_of(test_accuracy=value)
    said = f"{value!r:.50}"
    assert str(caught.value) == f"its 'test-accuracy' is {said}, which is not a finite number"


def test_a_missing_tensor_is_a_fault():
    assert fault(record(w=np.zeros((2, 3), np.float32))) == "its model lacks 'b'"
    assert fault(ArrayRecord()) == "its model lacks 'b'"


def test_an_extra_tensor_is_a_fault_told_in_short():
    w_k = ArrayRecord({**W, "extra" + 10_000 * "x": W["b"]})
    message = fault(w_k)
    assert message.startswith("its model has 'extraxxx")
    assert message.endswith(", which the global model has not")
    assert len(message) < 120


def read_without_b(w_k):
    return read_reply(train_reply(make_message(), w_k, N_K), W, N_K, broadcast_only=["b"])


def test_what_is_broadcast_only_must_not_come_back():
    w_k = ArrayRecord({"w": W["w"]})
    assert read_without_b(w_k) is w_k
    for bad, why in (
        (W, "its model has 'b', which only the server sends"),
        (ArrayRecord({"b": W["b"]}), "its model lacks 'w'"),
        (ArrayRecord(), "its model lacks 'w'"),
        (ArrayRecord({**w_k, "c": W["b"]}), "its model has 'c', which the global model has not"),
        (record(w=np.zeros((2, 3))), "its 'w' is float64[2, 3], not float32[2, 3]"),
        (record(w=np.full((2, 3), np.nan, np.float32)), "its 'w' holds a number that is not"),
    ):
        with pytest.raises(BadReplyError) as caught:
            read_without_b(bad)
        assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    "sent", [ArrayRecord(), record(v=np.float64([np.nan])), record(w=np.zeros(3))]
)
def test_what_is_sent_may_be_of_any_model_but_has_its_examples(sent):
    """A strategy may make the model of it: only the result must be one."""
    assert read_sent(train_reply(make_message(), sent, N_K), N_K) is sent
    with pytest.raises(BadReplyError, match=r"^it reports 8 examples, but has 7$"):
        read_sent(train_reply(make_message(), sent, N_K + 1), N_K)
    with pytest.raises(BadReplyError, match=r"its model lacks 'b'|its 'w' is "):
        require_model(sent, W)


def test_a_model_is_one_whatever_made_it():
    require_model(record(w=np.zeros((2, 3), np.float32), b=np.float32([7, 8])), W)
    require_model(record(w=np.zeros((2, 3), np.float32)), W, broadcast_only=["b"])
    with pytest.raises(BadReplyError, match=r"^its 'b' holds a number that is not finite$"):
        require_model(record(w=np.zeros((2, 3), np.float32), b=np.float32([np.inf, 8])), W)
    with pytest.raises(BadReplyError, match=r"^its model has 'b', which only the server sends$"):
        require_model(W, W, broadcast_only=["b"])


@pytest.mark.parametrize(
    ("w", "said"),
    [
        (np.zeros((3, 2), np.float32), "float32[3, 2]"),
        (np.zeros(6, np.float32), "float32[6]"),
        (np.zeros((1, 2, 3), np.float32), "float32[1, 2, 3]"),
        (np.array(0, np.float32), "float32[]"),
        (np.zeros((2, 0), np.float32), "float32[2, 0]"),
        (np.zeros((2, 3)), "float64[2, 3]"),
        (np.zeros((2, 3), np.int32), "int32[2, 3]"),
        (np.zeros((2, 3), ">f4"), ">f4[2, 3]"),
        (np.zeros((2, 3), "U1"), "<U1[2, 3]"),
        (np.zeros((2, 3), "M8[s]"), "datetime64[s][2, 3]"),
    ],
)
def test_another_shape_or_type_is_a_fault(w, said):
    w_k = record(w=w, b=np.zeros(2, np.float32))
    assert fault(w_k) == f"its 'w' is {said}, not float32[2, 3]"


def with_bytes(data):
    """A model whose w pretends to be what it should be."""
    return ArrayRecord({**W, "w": Array("float32", (2, 3), "numpy.ndarray", data)})


def npy(header, data=bytes(24)):
    header = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def header(descr="'<f4'", shape="(2, 3)"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


def test_the_bytes_count_and_not_what_the_array_says_of_them():
    data = W["b"].data
    assert fault(with_bytes(data)) == "its 'w' is float32[2], not float32[2, 3]"
    assert read(with_bytes(npy(header()))) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93",
        b"not an array at all",
        W["w"].data[:-1],
        W["w"].data + b"\0",
        W["w"].data[:9] + b"\xff" + W["w"].data[10:],
        b"\x93NUMPY\x02\x00" + W["w"].data[8:],
        npy("("),
        npy("'''"),
        npy("  x\n y\n  z"),
        npy("-" * 9000 + "1"),
        npy("[" * 9000),
        npy("9" * 5000),
        npy("{[]: 1}"),
        npy("{1: 2, 'a': 3}"),
        npy(header(descr="()")),
        npy(header(descr="[()]")),
        npy(header(descr="5")),
        npy(header(descr="{}")),
        npy(header(descr="'|O'")),
        npy(header(descr="'V0'")),
        npy(header(shape=f"({'9' * 40},)")),
        npy(header(shape="(-1, -1)")),
        npy(header(shape="(True, 6)")),
        npy(header(shape=f"({'1,' * 80})")),
    ],
    ids=lambda data: repr(data[10:50])[2:-1],
)
def test_bytes_that_are_no_array_are_a_fault(data):
    message = fault(with_bytes(data))
    assert message.startswith("the bytes of its 'w' are no array (")
    assert len(message) < 150


def test_a_type_with_an_endless_name_is_told_in_short():
    assert len(fault(with_bytes(npy(header(descr=f"[('{'a' * 5000}', '<f4')]"))))) < 200


HEADER_PARTS = st.sampled_from(
    ["{", "}", "(", ")", "[", "]", ",", ":", "'", "descr", "shape", "fortran_order", "<f4", "True"]
) | st.text("0123456789-\n L\\", max_size=3)


@given(
    st.binary(max_size=200)
    | st.lists(HEADER_PARTS, max_size=30).map(lambda parts: npy("".join(parts)))
    | st.tuples(
        st.integers(0, len(W["w"].data)), st.binary(max_size=3), st.integers(0, len(W["w"].data))
    ).map(lambda cut: W["w"].data[: cut[0]] + cut[1] + W["w"].data[cut[2] :])
)
@example(W["w"].data)
@pytest.mark.filterwarnings("ignore:Reading `.npy`")
def test_whatever_the_bytes_the_model_is_good_or_bad(data):
    w_k = with_bytes(data)
    try:
        found = read(w_k)
    except BadReplyError:
        return
    assert found is w_k
    assert w_k["w"].numpy().shape == (2, 3)
    assert np.isfinite(w_k["w"].numpy()).all()
