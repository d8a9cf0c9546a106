"""Whatever a checkpoint holds, it is one or it is refused in one sentence.

FLOWERBED_FUZZ_EXAMPLES says how many examples each test tries.
"""

import json
import struct

import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.arrays import to_array
from common.errors import UserInputError
from common.experiment.checkpoint import Checkpoint, CheckpointFolder

fuzz = settings.get_profile("fuzz")
MODEL = ArrayRecord({"w": to_array(np.arange(6, dtype=np.float32).reshape(2, 3))})
STATE = RecordDict({"mu": MetricRecord({"mu": 0.1, "falls": 3})})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoint")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The bytes of a good one."""
    path = tmp_path_factory.mktemp("good")
    CheckpointFolder(path).save(Checkpoint(3, MODEL, STATE, {}, {"seconds": 1.5}))
    return (path / "server.safetensors").read_bytes()


def load(folder, content):
    (folder / "server.safetensors").write_bytes(content)
    try:
        found = CheckpointFolder(folder).load()
    except UserInputError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert "\n" not in refusal
        assert len(refusal) < 1000
        return None
    assert found.round >= 1
    assert isinstance(found.arrays, ArrayRecord)
    return found


def with_header(header):
    return struct.pack("<Q", len(header)) + header


def test_the_bytes_below_are_a_checkpoint_before_they_are_edited(folder, server):
    assert load(folder, server).strategy == STATE


@fuzz
@given(st.binary(max_size=200))
@example(b"")
@example(struct.pack("<Q", 2**63) + b"{}")
@example(with_header(b"[" * 50_000))
def test_any_bytes(folder, content):
    load(folder, content)


@fuzz
@given(st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=3)), min_size=1, max_size=4))
def test_bytes_replaced(folder, server, edits):
    content = bytearray(server)
    for position, replacement in edits:
        position %= len(content) + 1
        content[position : position + 1] = replacement
    load(folder, bytes(content))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
about = st.fixed_dictionaries(
    {},
    optional={
        "round": values,
        "clients": values | st.dictionaries(st.text() | st.integers().map(str), values),
        "counters": values | st.dictionaries(st.text(), values),
    },
)
kinds = st.sampled_from(["arrays", "metrics", "config", "other"])
stored = values | st.dictionaries(kinds, values | st.just(["w"]), max_size=2)
names = st.sampled_from(["model", "strategy.mu"]) | st.text()


@fuzz
@given(values | about, values | st.dictionaries(names, stored, max_size=3))
@example({"round": 3, "clients": {"../../x": 1}, "counters": {}}, {"model": {"arrays": ["w"]}})
def test_any_header(folder, about, records):
    ours = json.dumps({"about": about, "records": records})
    tensor = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    header = json.dumps({"__metadata__": {"flowerbed": ours}, "model/w": tensor}).encode()
    load(folder, with_header(header) + bytes(24))
