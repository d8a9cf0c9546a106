import copy

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.arrays import load_arrays, to_arrays
from common.client.control_variate import ControlVariate
from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.engine.flower import become_server
from common.engine.grid import make_context, node_id
from common.protocol import ARRAYS, CONTROL_VARIATE


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


def record(**tensors):
    return ArrayRecord({key: Array(np.asarray(w, np.float32)) for key, w in tensors.items()})


def make_model(w):
    """Two weights that are trained, and a scale that is frozen."""
    model = nn.Module()
    model.register_parameter("scale", nn.Parameter(torch.ones(1), requires_grad=False))
    model.register_parameter("w", nn.Parameter(torch.tensor(w)))
    model.register_buffer("count", torch.zeros(1))
    return model


def ask(c=None, **w):
    content = RecordDict({ARRAYS: record(**w)})
    if c is not None:
        content[CONTROL_VARIATE] = record(**c)
    return Message(content, node_id(0), "train")


def make_client(c_k=None):
    state = RecordDict()
    if c_k is not None:
        state[CONTROL_VARIATE] = record(**c_k)
    return make_context(0, 1, {}, state)


def values(record):
    return {key: array.numpy().tolist() for key, array in record.items()}


def test_who_is_sent_no_c_has_no_control_variate():
    assert ControlVariate.of(ask(w=[1.0, 2.0]), make_client(), make_model([1.0, 2.0])) is None


def corrected(control, gradient):
    tensor = torch.tensor(gradient)
    control.correct([tensor])
    return tensor.tolist()


def test_two_rounds_by_hand():
    model, client = make_model([1.0, 2.0]), make_client()
    control = ControlVariate.of(ask({"w": [0.5, -1.0]}, w=[1.0, 2.0]), client, model)
    assert corrected(control, [2.0, 2.0]) == [2.5, 1.0]
    with torch.no_grad():
        model.w.copy_(torch.tensor([0.0, 4.0]))
    # Four steps of 0.125: (1, -2) / 0.5 = (2, -4), less c.
    assert values(control.update(4, 0.125)) == {"w": [1.5, -3.0]}
    assert values(client.state[CONTROL_VARIATE]) == {"w": [1.5, -3.0]}

    control = ControlVariate.of(ask({"w": [1.0, -1.0]}, w=[2.0, 2.0]), client, model)
    assert corrected(control, [2.0, 2.0]) == [1.5, 4.0]
    assert corrected(control, [0.0, 0.0]) == [-0.5, 2.0]
    # Two steps of 0.5: (2, -2) / 1, less (-0.5, 2), is (2.5, -4).
    assert values(control.update(2, 0.5)) == {"w": [1.0, -1.0]}
    assert values(client.state[CONTROL_VARIATE]) == {"w": [2.5, -4.0]}


def test_without_steps_nothing_changes():
    for kept in (None, {"w": [3.0, 4.0]}):
        client = make_client(kept)
        before = copy.deepcopy(client.state)
        control = ControlVariate.of(ask({"w": [1.0, 1.0]}, w=[0, 0]), client, make_model([0.0, 0]))
        assert values(control.update(0, 0.1)) == {"w": [0, 0]}
        assert client.state == before


def test_what_a_state_held_before_is_left_as_it_was():
    """An engine may hand it back to a client that failed."""
    client = make_client({"w": [3.0, 4.0]})
    before = client.state[CONTROL_VARIATE]
    control = ControlVariate.of(ask({"w": [1.0, 1.0]}, w=[0, 0]), client, make_model([1.0, 1.0]))
    control.update(1, 0.5)
    assert client.state[CONTROL_VARIATE] is not before
    assert values(before) == {"w": [3.0, 4.0]}


@pytest.mark.parametrize(
    ("c", "c_k", "w", "reason"),
    [
        ({}, None, [0, 0], "c lacks 'w', which is trained"),
        ({"w": [1.0]}, None, [0, 0], r"c of 'w' has shape \(1,\), not \(2,\)"),
        ({"w": [1.0, 1.0]}, {}, [0, 0], "c_k lacks 'w', which is trained"),
        ({"w": [1.0, 1.0]}, {"w": 1.0}, [0, 0], r"c_k of 'w' has shape \(\), not \(2,\)"),
        ({"w": [1.0, 1.0]}, None, [[0], [0]], r"w_t of 'w' has shape \(2, 1\), not \(2,\)"),
    ],
)
def test_tensors_of_another_model_are_refused_rather_than_broadcast(c, c_k, w, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        ControlVariate.of(ask(c, w=w), make_client(c_k), make_model([0.0, 0.0]))


@pytest.mark.filterwarnings("error")
def test_a_model_that_diverged_says_so_in_its_change_and_nowhere_else():
    control = ControlVariate.of(
        ask({"w": [1.0, 1.0]}, w=[0, 0]), make_client(), make_model([np.inf, np.nan])
    )
    assert not np.isfinite(values(control.update(1, 0.5))["w"]).any()


def random_tensors(rng, model):
    trained = {name: w for name, w in model.named_parameters() if w.requires_grad}
    return {name: rng.standard_normal(w.shape) for name, w in trained.items()}


@given(st.integers(0, 2**31), st.booleans())
def test_after_one_step_it_is_the_gradient_whatever_the_correction_was(seed, has_kept):
    """Option II is then option I, the gradient at w_t; real local training makes the step."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    model[0].bias.requires_grad = False
    x, y = rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 2, 6)
    loss = nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y))
    trained = {name: w for name, w in model.named_parameters() if w.requires_grad}
    gradient = torch.autograd.grad(loss, list(trained.values()))

    w_t = to_arrays(model)
    message = Message(
        RecordDict({ARRAYS: w_t, CONTROL_VARIATE: record(**random_tensors(rng, model))}), 1, "train"
    )
    client = make_client(random_tensors(rng, model) if has_kept else None)
    load_arrays(model, w_t)
    control = ControlVariate.of(message, client, model)
    work = LocalWork(epochs=1, batch_size=6, learning_rate=0.5, mu=0.0)
    training = train_locally(model, x, y, work, rng, control.correct)
    control.update(training.num_steps, work.learning_rate)
    kept = client.state[CONTROL_VARIATE]
    assert list(kept) == list(trained)
    for c_k, g in zip(kept.values(), gradient, strict=True):
        assert c_k.dtype == "float32"
        np.testing.assert_allclose(c_k.numpy(), g, atol=1e-5)


def test_the_correction_is_part_of_every_step():
    """With twice the gradient's opposite as correction, a step goes up where it went down."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 2, 6)
    model = nn.Linear(4, 2)
    w_t = to_arrays(model)
    work = LocalWork(epochs=1, batch_size=6, learning_rate=0.5, mu=0.0)
    moves = []
    c = {key: np.zeros(w.shape) for key, w in w_t.items()}
    for _ in range(2):
        load_arrays(model, w_t)
        message = Message(RecordDict({ARRAYS: w_t, CONTROL_VARIATE: record(**c)}), 1, "train")
        control = ControlVariate.of(message, make_client(), model)
        training = train_locally(model, x, y, work, rng, control.correct)
        gradient = control.update(training.num_steps, work.learning_rate)
        moves.append({key: w.numpy() - w_t[key].numpy() for key, w in to_arrays(model).items()})
        c = {key: -2 * g.numpy() for key, g in gradient.items()}
    for key, down in moves[0].items():
        np.testing.assert_allclose(moves[1][key], -down, rtol=1e-4, atol=1e-6)
