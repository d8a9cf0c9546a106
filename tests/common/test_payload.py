import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from common.payload import of_record, to_record
from common.protocol import UPDATE, count_bytes

NPY_HEADER = 128  # NumPy's, of a short vector.


@given(st.binary())
def test_a_payload_comes_back(payload):
    assert bytes(of_record(to_record(payload))) == payload


@given(st.binary(min_size=1, max_size=500))
def test_it_weighs_its_bytes_and_one_envelope(payload):
    """As the ledger counts: NumPy's header and the name of the array are part of what is sent."""
    content = RecordDict({UPDATE: to_record(payload)})
    assert count_bytes(content) == len("payload") + NPY_HEADER + len(payload)


def fault(record):
    with pytest.raises(ValueError, match=r"^(has|is) ") as caught:
        of_record(record)
    return str(caught.value)


def test_another_record_is_refused():
    good = to_record(b"abc")["payload"]
    assert fault(ArrayRecord()) == "has [], not 'payload' alone"
    assert fault(ArrayRecord({"w": good})) == "has ['w'], not 'payload' alone"
    assert fault(ArrayRecord({"payload": good, "w": good})) == (
        "has ['payload', 'w'], not 'payload' alone"
    )
    assert len(fault(ArrayRecord({"w" * 10_000: good}))) < 150


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(3, np.int8), "int8[3]"),
        (np.zeros(3, np.float32), "float32[3]"),
        (np.zeros((3, 1), np.uint8), "uint8[3, 1]"),
        (np.array(7, np.uint8), "uint8[]"),
    ],
)
def test_what_is_no_vector_of_bytes_is_refused(array, said):
    assert fault(ArrayRecord({"payload": Array(array)})) == f"is {said}, not bytes"


@given(st.binary(max_size=200), st.integers(0, 131), st.integers(0, 131))
def test_an_array_of_any_bytes_is_one_or_is_refused(data, start, end):
    """What the record says of its array is not looked at, as its bytes may say something else."""
    good = to_record(b"abc")["payload"].data
    data = good[:start] + data + good[end:]
    record = ArrayRecord({"payload": Array("uint8", (3,), "numpy.ndarray", data)})
    try:
        payload = of_record(record)
    except ValueError as error:
        payload, message = None, str(error)
    if payload is None:
        assert message.startswith("is ")
        assert len(message) < 200
    else:
        assert bytes(payload) in data


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"not an array at all", b"\0" * 200])
def test_bytes_that_are_no_array_are_refused(data):
    record = ArrayRecord({"payload": Array("uint8", (3,), "numpy.ndarray", data)})
    assert fault(record).startswith("is no array (")
