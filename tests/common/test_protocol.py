import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from common.engine.flower import become_server
from common.protocol import (
    CONTROL_VARIATE_CHANGE,
    METRICS,
    NUM_EXAMPLES,
    TrainInstruction,
    count_bytes,
    train_reply,
)


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


def arrays(*values):
    return ArrayRecord({"w": Array(np.array(values, dtype=np.float32))})


def ask(instruction, w_global=None):
    return Message(instruction.to_content(w_global or arrays(1, 2)), 5, "train")


def test_a_client_reads_what_the_server_wrote():
    instruction = TrainInstruction(server_round=3, epochs=20, mu=0.5)
    message = ask(instruction)
    assert TrainInstruction.of(message) == instruction
    assert message.content["arrays"]["w"].numpy().tolist() == [1, 2]
    partial = TrainInstruction(server_round=3, epochs=1, mu=0.5, batches=4)
    assert TrainInstruction.of(ask(partial)) == partial


def test_the_server_reads_what_a_client_wrote():
    message = ask(TrainInstruction(1, 1, 0.0))
    reply = train_reply(message, arrays(3, 4), 17)
    assert dict(reply.content.metric_records[METRICS]) == {NUM_EXAMPLES: 17}
    assert reply.content["arrays"]["w"].numpy().tolist() == [3, 4]
    assert reply.metadata.src_node_id == 5
    assert reply.metadata.reply_to_message_id == message.metadata.message_id


def test_a_client_may_say_more_of_its_model():
    message = ask(TrainInstruction(1, 1, 0.0))
    reply = train_reply(message, arrays(3, 4), 17, {"test-accuracy": 0.5, "steps": 3})
    metrics = dict(reply.content.metric_records[METRICS])
    assert metrics == {NUM_EXAMPLES: 17, "test-accuracy": 0.5, "steps": 3}


def test_a_change_of_a_control_variate_goes_beside_the_model_if_there_is_one():
    message = ask(TrainInstruction(1, 1, 0.0))
    plain = train_reply(message, arrays(3, 4), 17)
    reply = train_reply(message, arrays(3, 4), 17, control_variate_change=arrays(5, 6))
    change = reply.content.array_records.pop(CONTROL_VARIATE_CHANGE)
    assert change["w"].numpy().tolist() == [5, 6]
    assert reply.content == plain.content


def test_the_global_model_is_sent_as_it_is_and_not_copied():
    """The Ray engine finds by identity what all clients of a round receive."""
    w_global = arrays(1, 2)
    assert TrainInstruction(1, 1, 0.0).to_content(w_global)["arrays"] is w_global


def test_every_record_counts_with_the_names_in_it():
    content = RecordDict({"arrays": arrays(1, 2), "metrics": MetricRecord({"n": 1})})
    parts = [record.count_bytes() for record in content.values()]
    assert count_bytes(content) == sum(parts)
    assert min(parts) > 0
    longer = RecordDict({"arrays": arrays(1, 2), "metrics": MetricRecord({"number": 1})})
    assert count_bytes(longer) == count_bytes(content) + len("umber")
    with_config = RecordDict({**content, "config": ConfigRecord({"epochs": 2})})
    assert count_bytes(with_config) == count_bytes(content) + len("epochs") + 8
    assert count_bytes(RecordDict()) == 0


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_weight_costs_four_bytes(few, more):
    small, large = (RecordDict({"w": arrays(*range(n))}) for n in (few, few + more))
    # NumPy's header is padded to 64 bytes, whatever the shape it tells.
    assert count_bytes(large) - count_bytes(small) == 4 * more
