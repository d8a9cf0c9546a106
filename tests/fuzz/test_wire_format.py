"""Whatever a client replies, it is a model that can be averaged or a failure with a short reason.

FLOWERBED_FUZZ_EXAMPLES says how many examples each test tries.
"""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.arrays import to_array, view
from common.engine.flower import become_server
from common.strategy.reply import BadReplyError, read_reply

fuzz = settings.get_profile("fuzz")
N_K = 12
W = np.arange(6, dtype=np.float32).reshape(2, 3)
W_GLOBAL = ArrayRecord({"weight": to_array(W), "bias": to_array(W[0])})
NPY = W_GLOBAL["weight"].data


@pytest.fixture(scope="module", autouse=True)
def _server_process():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_run_id", "_task_id", "_node_id"):
            patch.setattr(TaskIdentity, name, None)
        become_server()
        yield


def read(**records):
    reply = Message(RecordDict(records), reply_to=Message(RecordDict(), 5, "train"))
    try:
        w_k = read_reply(reply, W_GLOBAL, N_K)
    except BadReplyError as error:
        reason = str(error)
    else:
        reason = ""
    if reason:
        assert len(reason) < 500
        return None
    assert w_k.keys() == W_GLOBAL.keys()
    for key, w in W_GLOBAL.items():
        found = view(w_k[key])
        assert (found.dtype, found.shape) == (view(w).dtype, view(w).shape)
        assert np.isfinite(found).all()
    return w_k


def with_weight(data, dtype="float32", shape=(2, 3)):
    weight = Array(dtype, shape, "numpy.ndarray", data)
    return ArrayRecord({"weight": weight, "bias": W_GLOBAL["bias"]})


METRICS = MetricRecord({"num-examples": N_K})


def test_the_bytes_below_are_a_good_reply_before_they_are_edited():
    assert read(arrays=with_weight(NPY), metrics=METRICS) is not None


@fuzz
@given(st.binary(max_size=300))
@example(b"")
@example(b"\x93NUMPY\x01\x00" + b"\xff\xff")
@example(b"\x93NUMPY\x01\x00\x02\x00((")
def test_any_bytes_of_a_tensor(data):
    read(arrays=with_weight(data), metrics=METRICS)


headers = st.text(
    st.sampled_from("{}[]()'\":,0123456789<>|fiOUSVc4descrshapetrueFals_ .-"), max_size=120
)


@fuzz
@given(headers, st.binary(max_size=40))
@example("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", b"\x80\x04N.")
@example("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,)}", b"")
@example("{'descr': [('f', '<f4')], 'fortran_order': True, 'shape': (2, 3)}", b"\0" * 24)
def test_any_header_of_a_tensor(header, content):
    length = len(header).to_bytes(2, "little")
    data = b"\x93NUMPY\x01\x00" + length + header.encode() + content
    read(arrays=with_weight(data), metrics=METRICS)


@fuzz
@given(st.lists(st.tuples(st.integers(0, len(NPY)), st.binary(max_size=3)), min_size=1, max_size=4))
def test_bytes_of_a_tensor_replaced(edits):
    data = bytearray(NPY)
    for position, replacement in edits:
        data[position : position + 1] = replacement
    read(arrays=with_weight(bytes(data)), metrics=METRICS)


@fuzz
@given(st.text(max_size=20), st.lists(st.integers(-(2**70), 2**70), max_size=4))
def test_what_an_array_says_of_itself_does_not_count(dtype, shape):
    assert read(arrays=with_weight(NPY, dtype, tuple(shape)), metrics=METRICS) is not None


floats = st.lists(st.floats(width=32), min_size=6, max_size=6)


@fuzz
@given(floats)
def test_any_numbers(values):
    w = np.array(values, np.float32).reshape(2, 3)
    is_good = read(arrays=with_weight(to_array(w).data), metrics=METRICS) is not None
    assert is_good == np.isfinite(w).all()


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats()


@fuzz
@given(st.dictionaries(st.just("num-examples") | st.text(min_size=1), numbers | st.lists(numbers)))
def test_any_metrics(metrics):
    try:
        record = MetricRecord(metrics)
    except (TypeError, ValueError):  # Flower takes lists of one type only.
        return
    is_good = read(arrays=W_GLOBAL, metrics=record) is not None
    reported = metrics.get("num-examples")
    assert is_good == (type(reported) is int and reported == N_K)


names = st.sampled_from(["arrays", "metrics", "weights", ""])
records = st.sampled_from(
    [W_GLOBAL, ArrayRecord(), METRICS, MetricRecord(), ConfigRecord({"a": 1})]
)


@fuzz
@given(st.dictionaries(names, records))
def test_any_records(content):
    is_good = read(**content) is not None
    assert is_good == (content.get("arrays") is W_GLOBAL and content.get("metrics") is METRICS)
