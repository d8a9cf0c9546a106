import math

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord
from pruning_afo.masks import Mask
from pruning_afo.packed import (
    MASK,
    PARAMETERS,
    REST,
    SQUARED_GRADIENTS,
    TASK,
    PruningTask,
    decode_tensors,
    mask_of_record,
    mask_to_record,
)
from pruning_afo.pruned_client import PrunedClient
from pruning_afo.pruning_schedule import PruningRounds
from pruning_afo.scheduled_pruning import ScheduledPruning
from tiny_pruning import (
    PRUNABLE,
    WORK,
    app,
    grid_of,
    images,
    options,
    server_process,
    tiny_net,
)

from common.arrays import to_array, to_arrays, view
from common.client.local_sgd import train_locally
from common.compression.quantisers import Float32
from common.protocol import UPDATE
from common.strategy.fedavg import FedAvg

__all__ = ["server_process"]
pytestmark = pytest.mark.usefixtures("server_process")

W_0 = to_arrays(tiny_net())
CLIENT = 2


def message(density=0.2, task=None):
    """Return what client 2 is sent in the first round."""
    strategy = ScheduledPruning(
        **options(),
        shapes=PRUNABLE,
        rounds=PruningRounds(0, 0, 1),
        importance="weight",
        density=density,
    )
    messages = strategy.configure_train(1, W_0, ConfigRecord(), grid_of(app()))
    message = list(messages)[CLIENT]
    if task is not None:
        message.content[TASK] = task.to_record()
    return message


def train(message, work=WORK, num_examples=None, on_step=lambda model, gradient: None):
    """Return the model and the reply of a client.

    Args:
        message: What it was asked.
        work: Its budget.
        num_examples: Examples it trains on; None for all it has.
        on_step: Called with the model and the gradients of each batch, before they are corrected.
    """
    x, y = (part[:num_examples] for part in images(CLIENT))
    model = tiny_net()
    pruned = PrunedClient(message, model)
    with pruned.training(work, len(y)) as correct:

        def hook(gradient):
            on_step(model, [g.clone() for g in gradient])
            correct(gradient)

        train_locally(model, x, y, work, np.random.default_rng(0), hook)
    return model, pruned.reply(len(y), Float32(), np.random.default_rng(1))


def density_of(model):
    with torch.no_grad():
        return {key: int((model.state_dict()[key] != 0).sum()) for key in PRUNABLE}


def test_a_model_that_is_sent_as_it_is_has_no_pruned_client():
    (message, *_) = FedAvg(**options()).configure_train(1, W_0, ConfigRecord(), grid_of(app()))
    assert PrunedClient.of(message, tiny_net()) is None


def test_the_model_comes_masked_and_whole():
    model = tiny_net()
    with torch.no_grad():
        for w in model.state_dict().values():
            w.fill_(77)
    client = PrunedClient.of(message(), model)
    for key, w in model.state_dict().items():
        expected = view(W_0[key])
        if key in PRUNABLE:
            expected = np.where(client.mask.is_kept[key], expected, 0)
        np.testing.assert_array_equal(w.numpy(), expected)
    assert client.mask.counts == {"3.weight": 43, "6.weight": 48}


def test_the_update_is_that_of_the_kept_entries():
    asked = message()
    model, reply = train(asked)
    mask = mask_of_record(asked.content[MASK], PRUNABLE)
    shapes = {name: tuple(w.shape) for name, w in model.named_parameters()}
    update = mask.unpack(decode_tensors(reply.content[UPDATE], mask.packed_shapes(shapes)))
    w_t = mask.apply({name: view(W_0[name]) for name in shapes})
    for name, w in model.named_parameters():
        np.testing.assert_array_equal(update[name], w.detach().numpy() - w_t[name])
    assert set(reply.content) == {"arrays", "metrics", UPDATE}
    assert same_buffers(reply, model)


def same_buffers(reply, model):
    buffers = reply.content["arrays"]
    state = model.state_dict()
    assert set(buffers) == {key for key in state if key.startswith("1.") and "_" in key}
    return all(np.array_equal(view(buffers[key]), state[key].numpy()) for key in buffers)


def test_a_mask_in_channels_last_is_the_same_mask():
    """Convolutions train in that memory format on a CPU."""
    model, _ = train(message())
    assert model.state_dict()["3.weight"].is_contiguous(memory_format=torch.channels_last)
    assert density_of(model) == {"3.weight": 43, "6.weight": 48}


@pytest.mark.parametrize(
    ("name", "record", "text"),
    [
        (MASK, mask_to_record(Mask.full({"3.weight": (6, 4, 3, 3)})), "'mask' has positions in"),
        (PARAMETERS, ArrayRecord({"payload": to_array(np.zeros(8, np.uint8))}), "'parameters' "),
        (PARAMETERS, ArrayRecord(), "'parameters' has"),
        (MASK, mask_to_record(Mask.full(PRUNABLE)), "'parameters' "),
    ],
)
def test_a_model_of_another_kind_is_refused(name, record, text):
    asked = message()
    asked.content[name] = record
    with pytest.raises(ValueError, match=text):
        PrunedClient.of(asked, tiny_net())


def test_an_update_that_is_not_finite_is_refused():
    asked = message()
    model = tiny_net()
    client = PrunedClient(asked, model)
    with client.training(WORK, 3), torch.no_grad():
        model[0].bias[0] = math.inf
    with pytest.raises(ValueError, match=r"0\.bias.* not finite"):
        client.reply(3, Float32(), np.random.default_rng(0))


def test_squared_gradients_are_the_mean_over_steps_of_all_entries():
    gradients = []
    asked = message(task=PruningTask(send_squared_gradients=True))
    model, reply = train(asked, on_step=lambda model, gradient: gradients.append(gradient))
    sent = decode_tensors(reply.content[SQUARED_GRADIENTS], {**PRUNABLE, REST: (1,)})
    names = [name for name, _ in model.named_parameters()]
    means = {
        name: np.mean([g[i].numpy().astype(np.float64) ** 2 for g in gradients], axis=0)
        for i, name in enumerate(names)
    }
    assert len(gradients) == 6  # Two epochs of twelve examples, by four.
    for name in PRUNABLE:
        np.testing.assert_allclose(sent[name], means[name], rtol=1e-5)
    rest = sum(mean.sum() for name, mean in means.items() if name not in PRUNABLE)
    assert sent[REST][0] == pytest.approx(rest, rel=1e-5)
    assert density_of(model) == {"3.weight": 43, "6.weight": 48}


def test_a_step_whose_gradients_overflowed_counts_for_no_squares():
    asked = message(task=PruningTask(send_squared_gradients=True))
    model = tiny_net()
    client = PrunedClient(asked, model)
    with client.training(WORK, 3) as correct:
        for value in (2.0, math.inf, 4.0):
            correct([torch.full_like(w, value) for w in model.parameters()])
    sent = client.reply(3, Float32(), np.random.default_rng(0)).content[SQUARED_GRADIENTS]
    assert (decode_tensors(sent, {**PRUNABLE, REST: (1,)})["6.weight"] == 10).all()


def test_readjustment_removes_and_grows_half_way():
    seen = []
    asked = message(task=PruningTask(readjusted_share=0.25))

    def on_step(model, gradient):
        seen.append(
            (to_arrays(model), dict(zip(dict(model.named_parameters()), gradient, strict=True)))
        )

    model, reply = train(asked, on_step=on_step)
    before = mask_of_record(asked.content[MASK], PRUNABLE)
    after = mask_of_record(reply.content[MASK], PRUNABLE)
    assert after.counts == before.counts
    w, gradient = seen[3]  # Of six steps.
    for key in PRUNABLE:
        kept, magnitude = before.is_kept[key], np.abs(view(w[key]))
        num_removed = before.counts[key] // 4
        removed = kept & (magnitude <= np.sort(magnitude[kept])[num_removed - 1])
        free = ~kept | removed
        g = np.abs(gradient[key].numpy())
        grown = free & (g >= np.sort(g[free])[-num_removed])
        assert removed.sum() == grown.sum() == num_removed
        assert (after.is_kept[key] == (kept & ~removed | grown)).all()
        # What was removed is never used again, and what grew has moved from 0.
        for later, _ in seen[4:]:
            assert not view(later[key])[~after.is_kept[key]].any()
            assert view(later[key])[after.is_kept[key]].all()
        final = model.state_dict()[key].numpy()
        assert ((final != 0) == after.is_kept[key]).all()
    for before_it, _ in seen[:4]:
        assert all(not view(before_it[key])[~before.is_kept[key]].any() for key in PRUNABLE)


def test_the_model_of_a_process_is_left_without_hooks():
    asked = message(task=PruningTask(readjusted_share=0.25))
    model = tiny_net()
    with (
        pytest.raises(RuntimeError, match="the disk"),
        PrunedClient(asked, model).training(WORK, 9),
    ):
        raise RuntimeError("the disk is full")
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("num_examples", [0, 2])
def test_with_no_step_or_one_a_mask_is_sent_all_the_same(num_examples):
    asked = message(task=PruningTask(readjusted_share=0.25, send_squared_gradients=True))
    _, reply = train(asked, num_examples=num_examples)
    after = mask_of_record(reply.content[MASK], PRUNABLE)
    before = mask_of_record(asked.content[MASK], PRUNABLE)
    assert after.counts == before.counts
    assert (after.difference(before) == 0) == (num_examples == 0)
    sent = decode_tensors(reply.content[SQUARED_GRADIENTS], {**PRUNABLE, REST: (1,)})
    assert sent["3.weight"].any() == (num_examples > 0)


def test_no_step_moves_a_pruned_weight():
    """With momentum, weight decay and a proximal term."""
    asked = message()
    mask = mask_of_record(asked.content[MASK], PRUNABLE)
    seen = []
    train(asked, on_step=lambda model, gradient: seen.append((to_arrays(model), gradient)))
    assert len(seen) == 6
    for w, gradient in seen:
        assert all(g.any() for g in gradient)
        for key in PRUNABLE:
            assert ((view(w[key]) != 0) == mask.is_kept[key]).all()
