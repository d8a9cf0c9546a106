import copy
import math

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.arrays import to_arrays, view
from common.client.compressed_update import encode_update
from common.compression import wire
from common.compression.compressor import Compressor
from common.compression.density import DensitySchedule
from common.compression.error_feedback import ErrorFeedback
from common.compression.quantisers import Float32, Int8, Sign
from common.compression.sparsifiers import Keep, RandomK, Threshold, TopK
from common.engine.flower import become_server
from common.engine.grid import make_context, node_id
from common.payload import of_record
from common.protocol import TrainInstruction

EXACT = Compressor(Keep(), Float32())
LARGE = Compressor(Threshold(1.0), Float32())


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


class Net(nn.Module):
    """Two weights that are trained, a frozen scale and a buffer."""

    def __init__(self, *w):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([3.0]), requires_grad=False)
        self.w = nn.Parameter(torch.tensor(w))
        self.register_buffer("count", torch.tensor(5))


def ask(model, server_round=1):
    content = TrainInstruction(server_round, 1, 0.0).to_content(to_arrays(model))
    return Message(content, node_id(0), "train")


def make_client(state=None):
    return make_context(0, 1, {}, state)


def encode(message, client, model, compression, seed=0):
    """Return what is sent as it is, and the tensors that the server decodes."""
    buffers, update = encode_update(
        message, client, model, compression, np.random.default_rng(seed)
    )
    trained = {name: tuple(w.shape) for name, w in model.named_parameters() if w.requires_grad}
    tensors = wire.decode(of_record(update), trained)
    return buffers, {name: tensor.to_dense() for name, tensor in tensors.items()}


def kept(client, name="residual"):
    return {key: array.numpy().tolist() for key, array in client.state[name].items()}


def test_the_update_is_what_training_changed_of_what_is_trained():
    message, client = ask(Net(1.0, 2.0)), make_client()
    model = Net(1.5, 0.0)
    model.count += 2
    buffers, sent = encode(message, client, model, EXACT)
    assert {key: w.tolist() for key, w in sent.items()} == {"w": [0.5, -2.0]}
    assert {key: array.numpy().tolist() for key, array in buffers.items()} == {
        "scale": [3.0],
        "count": 7,
    }
    assert not client.state


def test_without_error_feedback_what_is_not_sent_is_lost():
    client = make_client()
    for _ in range(2):
        _, sent = encode(ask(Net(0.0, 0.0)), client, Net(0.75, -4.0), LARGE)
        assert sent["w"].tolist() == [0.0, -4.0]
    assert not client.state


def test_two_rounds_of_error_feedback_by_hand():
    client, feedback = make_client(), ErrorFeedback(LARGE)
    _, sent = encode(ask(Net(0.0, 0.0)), client, Net(0.75, -4.0), feedback)
    assert sent["w"].tolist() == [0.0, -4.0]
    assert kept(client) == {"w": [0.75, 0.0]}
    assert list(client.state) == ["residual"]
    # From another model: 0.5 + 0.75 and -0.25.
    _, sent = encode(ask(Net(1.0, 2.0)), client, Net(1.5, 1.75), feedback)
    assert sent["w"].tolist() == [1.25, 0.0]
    assert kept(client) == {"w": [0.0, -0.25]}


def test_two_rounds_of_momentum_correction_by_hand():
    client = make_client()
    feedback = ErrorFeedback(LARGE, momentum=0.5, factor_masking=True)
    encode(ask(Net(0.0, 0.0)), client, Net(0.75, -4.0), feedback)
    # Where an entry was sent, its momentum is gone, too.
    assert kept(client) == {"w": [0.75, 0.0]}
    assert kept(client, "residual-momentum") == {"w": [0.75, 0.0]}
    _, sent = encode(ask(Net(0.0, 0.0)), client, Net(0.125, 0.5), feedback)
    # u = 0.375 + 0.125 and 0.5; with the residual 1.25 and 0.5.
    assert sent["w"].tolist() == [1.25, 0.0]
    assert kept(client) == {"w": [0.0, 0.5]}
    assert kept(client, "residual-momentum") == {"w": [0.0, 0.5]}


COMPRESSORS = [
    LARGE,
    Compressor(TopK(DensitySchedule(0.2)), Int8("stochastic")),
    Compressor(RandomK(DensitySchedule(0.5), scaled=False), Float32()),
    Compressor(Keep(), Sign()),
]


@pytest.mark.parametrize("compressor", COMPRESSORS)
@given(seed=st.integers(0, 2**31), rounds=st.integers(1, 4))
def test_all_that_was_sent_and_what_is_kept_add_up_to_all_updates(compressor, seed, rounds):
    rng, client, feedback = np.random.default_rng(seed), make_client(), ErrorFeedback(compressor)
    updates, all_sent = np.zeros(11), np.zeros(11)
    for round_ in range(1, rounds + 1):
        w_t, w_k = rng.standard_normal((2, 11), np.float32)
        _, sent = encode(ask(Net(*w_t.tolist()), round_), client, Net(*w_k.tolist()), feedback)
        updates += w_k - w_t
        all_sent += sent["w"]
    residual = client.state["residual"]["w"].numpy()
    np.testing.assert_allclose(all_sent + residual, updates, atol=1e-5)


def test_the_density_is_that_of_the_round():
    """0.01 after a warm-up of one round, so 0.1 in it."""
    compression = Compressor(TopK(DensitySchedule(0.01, warmup_rounds=1)), Float32())
    start, trained = Net(*[0.0] * 100), Net(*(float(i) for i in range(1, 101)))
    found = [
        np.count_nonzero(encode(ask(start, round_), make_client(), trained, compression)[1]["w"])
        for round_ in (1, 2, 3)
    ]
    assert found == [10, 1, 1]


def test_draws_are_those_of_the_generator():
    compression = Compressor(RandomK(DensitySchedule(0.1), scaled=True), Float32())
    start, trained = Net(*[0.0] * 100), Net(*[1.0] * 100)
    first, again, other = (
        encode(ask(start), make_client(), trained, compression, seed)[1]["w"].tolist()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_what_a_state_held_before_is_left_as_it_was():
    """An engine may hand it back to a client that failed."""
    client, feedback = make_client(), ErrorFeedback(LARGE, momentum=0.5)
    encode(ask(Net(0.0, 0.0)), client, Net(0.75, 0.5), feedback)
    before, copied = dict(client.state), copy.deepcopy(client.state)
    encode(ask(Net(0.0, 0.0)), client, Net(0.75, 0.5), feedback)
    assert before == copied != client.state


def test_the_model_may_go_on_training_after_its_update_was_encoded():
    """A process has one model, which the next client overwrites."""
    client, model = make_client(), Net(0.75, -4.0)
    _, update = encode_update(ask(Net(0.0, 0.0)), client, model, ErrorFeedback(LARGE), None)
    payload = bytes(of_record(update))
    with torch.no_grad():
        model.w.fill_(9.0)
    assert bytes(of_record(update)) == payload
    assert kept(client) == {"w": [0.75, 0.0]}


@pytest.mark.parametrize("compression", [EXACT, ErrorFeedback(EXACT)])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.filterwarnings("error")
def test_a_model_that_diverged_is_refused_and_nothing_is_kept(compression, bad):
    client = make_client()
    with pytest.raises(ValueError, match=r"^'w' has a value that is not finite$"):
        encode(ask(Net(0.0, 0.0)), client, Net(1.0, bad), compression)
    assert not client.state


@pytest.mark.filterwarnings("error")
def test_an_update_beyond_float32_is_refused():
    with pytest.raises(ValueError, match=r"^'w' has a value that is not finite$"):
        encode(ask(Net(-3e38, 0.0)), make_client(), Net(3e38, 0.0), EXACT)


@pytest.mark.parametrize(
    ("residual", "momentum"), [({"v": [1.0]}, 0.0), ({"w": [1.0]}, 0.0), ({"w": [1.0, 2.0]}, 0.5)]
)
def test_what_was_kept_of_something_else_is_refused(residual, momentum):
    client = make_client()
    record = ArrayRecord({key: Array(np.float32(v)) for key, v in residual.items()})
    client.state["residual"] = record
    with pytest.raises(ValueError, match=r"^the memory's "):
        encode(ask(Net(0.0, 0.0)), client, Net(1.0, 1.0), ErrorFeedback(EXACT, momentum))


def test_memory_formats_change_nothing():
    """Local training leaves filters channels last, and the server has them in C order."""
    torch.manual_seed(0)
    start, trained = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3)
    payloads, residuals = [], []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        client, model = make_client(), copy.deepcopy(trained).to(memory_format=memory_format)
        compression = ErrorFeedback(Compressor(TopK(DensitySchedule(0.1)), Int8()), momentum=0.9)
        rng = np.random.default_rng(0)
        for _ in range(2):
            _, update = encode_update(ask(start), client, model, compression, rng)
        payloads.append(bytes(of_record(update)))
        residuals.append(client.state["residual"])
    assert payloads[0] == payloads[1]
    assert residuals[0] == residuals[1]
    sent = view(to_arrays(trained)["weight"]) - view(to_arrays(start)["weight"])
    _, found = encode(ask(start), make_client(), model, EXACT)
    np.testing.assert_array_equal(found["weight"], sent)
