import copy
import pickle

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from common.engine.broadcast import Envelope, split_shared
from common.engine.flower import become_server


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


def arrays(*values):
    return ArrayRecord({"w": Array(np.array(values, dtype=np.float32))})


def make_messages(*contents):
    return [Message(RecordDict(c), node, "train") for node, c in enumerate(contents, start=2)]


def opened(messages):
    """Send the messages to a worker and return the contents that arrive."""
    broadcast, shared = split_shared(messages)
    envelopes = [Envelope(m, own) for m, own in zip(messages, shared, strict=True)]
    broadcast, envelopes = pickle.loads(pickle.dumps((broadcast, envelopes)))
    return [envelope.open(broadcast).content for envelope in envelopes]


def test_takes_out_what_more_than_one_message_has():
    w_global, own = arrays(1, 2), arrays(3)
    first, second = make_messages(
        {"w": w_global, "own": own, "config": ConfigRecord({"epochs": 1})},
        {"w": w_global, "config": ConfigRecord({"epochs": 2})},
    )
    broadcast, shared = split_shared([first, second])
    assert len(broadcast) == 1
    assert broadcast[0] is w_global
    assert shared == [{"w": 0}, {"w": 0}]
    assert list(first.content) == ["own", "config"]
    assert first.content["own"] is own
    assert list(second.content) == ["config"]


def test_records_that_are_equal_but_not_the_same_are_not_shared():
    messages = make_messages({"w": arrays(1, 2)}, {"w": arrays(1, 2)})
    broadcast, shared = split_shared(messages)
    assert broadcast == []
    assert shared == [{}, {}]
    assert [list(message.content) for message in messages] == [["w"], ["w"]]


def test_one_message_shares_nothing():
    (message,) = make_messages({"w": arrays(1, 2)})
    assert split_shared([message]) == ([], [{}])
    assert list(message.content) == ["w"]


def test_a_record_that_several_share_is_sent_once():
    one, two = arrays(1), arrays(2)
    messages = make_messages({"a": one, "b": two}, {"b": one}, {"a": two, "c": one})
    broadcast, shared = split_shared(messages)
    assert len(broadcast) == 2
    assert broadcast[0] is one
    assert broadcast[1] is two
    assert shared == [{"a": 0, "b": 1}, {"b": 0}, {"a": 1, "c": 0}]


def test_only_arrays_are_shared():
    config = ConfigRecord({"epochs": 1})
    messages = make_messages({"config": config}, {"config": config})
    assert split_shared(messages) == ([], [{}, {}])


def test_what_is_put_back_equals_what_was_taken_out():
    w_global = arrays(1, 2)
    contents = [
        {"w": w_global, "own": arrays(9), "config": ConfigRecord({"epochs": 1})},
        {"config": ConfigRecord({"epochs": 2}), "w": w_global, "again": w_global},
        {"config": ConfigRecord({"epochs": 3})},
    ]
    expected = copy.deepcopy(contents)
    for found, content in zip(opened(make_messages(*contents)), expected, strict=True):
        assert dict(found) == content


def test_a_content_that_messages_share_is_not_changed():
    content = RecordDict({"w": arrays(1, 2), "config": ConfigRecord({"epochs": 1})})
    before = copy.deepcopy(content)
    messages = [Message(content, node, "train") for node in (2, 3)]
    assert all(dict(found) == dict(before) for found in opened(messages))
    assert dict(content) == dict(before)


def test_the_weights_of_a_round_weigh_once():
    w_global = arrays(*range(10_000))
    messages = make_messages(*({"w": w_global} for _ in range(10)))
    broadcast, shared = split_shared(messages)
    envelopes = [Envelope(m, own) for m, own in zip(messages, shared, strict=True)]
    assert 40_000 < len(pickle.dumps(broadcast)) < 50_000
    assert len(pickle.dumps(envelopes)) < 10_000
