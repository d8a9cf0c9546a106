import json
import math
import struct

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load

from common.experiment.record_file import RecordFileError, from_bytes, to_bytes

DTYPES = [np.float16, np.float32, np.float64, np.complex64, np.bool_]
DTYPES += [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]

# Anything but lone surrogates, which are no text.
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ["a/b", "a%2Fb", "a", "b/c", "/", "..", "__metadata__", "π"]
)
tensors = arrays(st.sampled_from(DTYPES), array_shapes(min_dims=0, min_side=0, max_side=3))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats()
array_records = st.dictionaries(names, tensors.map(Array), max_size=3).map(ArrayRecord)
metric_records = st.dictionaries(
    names, numbers | st.lists(st.integers()) | st.lists(st.floats()), max_size=3
).map(MetricRecord)
config_records = st.dictionaries(
    names,
    numbers
    | st.booleans()
    | names
    | st.binary()
    | st.lists(st.booleans())
    | st.lists(names)
    | st.lists(st.binary()),
    max_size=3,
).map(ConfigRecord)
contents = st.dictionaries(names, array_records | metric_records | config_records, max_size=4).map(
    RecordDict
)


def bits(value):
    """What two values that are the same have in common; 1, 1.0 and True are not the same."""
    if isinstance(value, list):
        return [bits(item) for item in value]
    if type(value) is not float:
        return type(value), value
    return "nan" if math.isnan(value) else struct.pack("d", value)


def plain(content):
    """What a record dict holds, to the bit and in order."""
    return [
        (
            name,
            type(record),
            [
                (key, (value.dtype, tuple(value.shape), value.stype, bytes(value.data)))
                if isinstance(value, Array)
                else (key, bits(value))
                for key, value in record.items()
            ],
        )
        for name, record in content.items()
    ]


@settings(max_examples=50)
@given(contents)
def test_all_records_come_back_to_the_bit(content):
    found, about = from_bytes(to_bytes(content, {}))
    assert plain(found) == plain(content)
    assert about == {}


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.text("aé", max_size=2), numbers | names | st.dictionaries(names, numbers, max_size=2)
    )
)
def test_what_is_kept_beside_them_comes_back(about):
    found = from_bytes(to_bytes(RecordDict(), about))[1]
    assert repr(found) == repr(about)


def test_numbers_that_json_does_not_know_come_back():
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1]
    content = RecordDict({"m": MetricRecord({"values": values, "zero": -0.0})})
    found = from_bytes(to_bytes(content, {}))[0]["m"]
    assert [struct.pack("d", value) for value in found["values"]] == [
        struct.pack("d", value) for value in values
    ]
    assert math.copysign(1, found["zero"]) == -1


def test_a_nan_keeps_its_payload():
    w = np.array([0x7FC00001, 0xFFC12345], np.uint32).view(np.float32)
    found = from_bytes(to_bytes(RecordDict({"a": ArrayRecord({"w": Array(w)})}), {}))[0]
    assert found["a"]["w"].numpy().tobytes() == w.tobytes()


def test_an_array_in_another_order_keeps_its_values():
    w = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    content = RecordDict({"a": ArrayRecord({"w": Array(w), "v": Array(np.arange(4)[::2])})})
    found = from_bytes(to_bytes(content, {}))[0]["a"]
    assert found["w"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["v"].numpy().tolist() == [0, 2]


def test_the_file_is_an_ordinary_one():
    content = RecordDict({"a/b": ArrayRecord({"w/1": Array(np.float32([1, 2]))})})
    stored = load(to_bytes(content, {"round": 3}))
    assert {name: w.tolist() for name, w in stored.items()} == {"a%2Fb/w/1": [1, 2]}


def test_names_with_slashes_are_kept_apart():
    first, second = Array(np.float32([1])), Array(np.float32([2]))
    content = RecordDict({"a/b": ArrayRecord({"c": first}), "a": ArrayRecord({"b/c": second})})
    found = from_bytes(to_bytes(content, {}))[0]
    assert found["a/b"]["c"].numpy() == 1
    assert found["a"]["b/c"].numpy() == 2


GOOD = to_bytes(
    RecordDict(
        {
            "model": ArrayRecord({"w": Array(np.float32([[1, 2]])), "é": Array(np.array(7))}),
            "m": MetricRecord({"mu": 0.5, "falls": [1, 2]}),
            "c": ConfigRecord({"bytes": b"\0\xff", "text": "ü", "flag": True}),
        }
    ),
    {"round": 3},
)


def read_or_refuse(data):
    try:
        content, about = from_bytes(data)
    except RecordFileError as error:
        return str(error)
    assert isinstance(content, RecordDict)
    assert isinstance(about, dict)
    return ""


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data):
    assert read_or_refuse(data)


@given(st.integers(0, len(GOOD) - 1))
def test_a_file_that_was_cut_is_refused(length):
    assert read_or_refuse(GOOD[:length])


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(GOOD) - 1),
            st.integers(0, 255) | st.sampled_from([ord(character) for character in '[]{}",:\\0-']),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_file_that_was_damaged_is_refused_or_read(changes):
    data = bytearray(GOOD)
    for position, byte in changes:
        data[position] = byte
    assert len(read_or_refuse(bytes(data))) < 200


def with_header(header):
    """A file whose header is this text, and that has one tensor, a/w."""
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    raw = json.dumps({"__metadata__": {"flowerbed": header}, "a/w": tensor}).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(4)


def test_the_files_below_differ_in_their_header_alone():
    found, _ = from_bytes(with_header('{"records": {"a": {"arrays": ["w"]}}, "about": {}}'))
    assert found["a"]["w"].numpy().tolist() == [0]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        "null",
        '{"records": {}}',
        '{"records": {}, "about": 5}',
        '{"records": [], "about": {}}',
        '{"records": {"a": 5}, "about": {}}',
        '{"records": {"a": {}}, "about": {}}',
        '{"records": {"a": {"arrays": [], "config": {}}}, "about": {}}',
        '{"records": {"a": {"code": {}}}, "about": {}}',
        '{"records": {"a": {"arrays": 5}}, "about": {}}',
        '{"records": {"a": {"arrays": ["v"]}}, "about": {}}',
        '{"records": {"a": {"arrays": [["w"]]}}, "about": {}}',
        '{"records": {"\\ud800": {"arrays": ["w"]}}, "about": {}}',
        '{"records": {"a": {"metrics": []}}, "about": {}}',
        '{"records": {"a": {"metrics": {"x": "text"}}}, "about": {}}',
        '{"records": {"a": {"metrics": {"x": [1, 0.5]}}}, "about": {}}',
        '{"records": {"a": {"metrics": {"x": [[1]]}}}, "about": {}}',
        '{"records": {"a": {"config": {"x": null}}}, "about": {}}',
        '{"records": {"a": {"config": {"x": {"base64": 5}}}}, "about": {}}',
        '{"records": {"a": {"config": {"x": {"base64": "!"}}}}, "about": {}}',
        '{"records": {"a": {"config": {"x": {"bytes": ""}}}}, "about": {}}',
        f'{{"records": {{"a": {{"metrics": {{"x": {"9" * 5000}}}}}}}, "about": {{}}}}',
        f'{{"records": {{"a": {{"config": {{"x": {"[" * 900 + "]" * 900}}}}}}}, "about": {{}}}}',
        "[" * 100_000,
    ],
    ids=lambda header: header[:60],
)
def test_a_header_of_somebody_elses_is_refused(header):
    assert 0 < len(read_or_refuse(with_header(header))) < 200


@pytest.mark.parametrize("depth", [1_000, 200_000])
def test_a_deeply_nested_file_is_refused(depth):
    for raw in (b"[" * depth, b'{"__metadata__":' * depth):
        assert read_or_refuse(len(raw).to_bytes(8, "little") + raw)


def test_a_header_longer_than_the_file_is_refused():
    assert "shorter" in read_or_refuse((2**63).to_bytes(8, "little") + b"{}")


def test_a_tensor_that_is_stored_in_another_type_is_no_array_of_ours():
    raw = json.dumps(
        {
            "__metadata__": {"flowerbed": '{"records": {"a": {"arrays": ["w"]}}, "about": {}}'},
            "a/w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        }
    ).encode()
    assert "BF16" in read_or_refuse(len(raw).to_bytes(8, "little") + raw + bytes(4))
