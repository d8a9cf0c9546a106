from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.arrays import to_arrays
from common.client.local_optimizer import Sgd
from common.client.local_sgd import batches, epoch_orders, train_locally
from common.client.work import LocalWork
from common.inputs import OnDisk


def make_mlp():
    return nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 4))


def make_cnn():
    return nn.Sequential(
        nn.Unflatten(1, (1, 3, 3)),
        nn.Conv2d(1, 5, kernel_size=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 4),
    )


def make_logistic():
    return nn.Linear(9, 4)


def make_batch_norm():
    return nn.Sequential(nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


MODELS = [make_mlp, make_cnn, make_logistic]


@pytest.fixture(autouse=True)
def _threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def examples():
    rng = np.random.default_rng(7)
    return rng.standard_normal((23, 9), dtype=np.float32), rng.integers(0, 4, 23)


def build(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make()


def weights(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def trained(model, examples, work, seed=0):
    train_locally(model, *examples, work, np.random.default_rng(seed))
    return weights(model)


def reference(model, examples, work, seed=0):
    """Train with torch's own optimiser on F_k(w) + mu/2 ||w - w_global||^2."""
    x, y = map(torch.tensor, examples)
    rng = np.random.default_rng(seed)
    w = [parameter for parameter in model.parameters() if parameter.requires_grad]
    w_global = [parameter.detach().clone() for parameter in w]
    optimizer = torch.optim.SGD(
        w, lr=work.learning_rate, momentum=work.momentum, weight_decay=work.weight_decay
    )
    orders = rng.permuted(np.tile(np.arange(len(y)), (work.epochs, 1)), axis=1)
    for order in torch.tensor(orders):
        for start in range(0, len(y), work.batch_size)[: work.batches]:
            batch = order[start : start + work.batch_size]
            squares = [(a - b).square().sum() for a, b in zip(w, w_global, strict=True)]
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss = loss + work.mu / 2 * torch.stack(squares).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weights(model)


def assert_close(found, expected, tolerance=3e-6):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = torch.linalg.vector_norm(found[name].double() - value.double())
        assert error <= tolerance * torch.linalg.vector_norm(value.double()), name


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True)


def are_equal(found, expected):
    return all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("mu", [0.0, 0.5, 4.0])
@pytest.mark.parametrize(("epochs", "batch_size"), [(1, 5), (6, 5), (6, 23), (6, 100), (2, 1)])
def test_follows_sgd_on_the_proximal_objective(make, examples, mu, epochs, batch_size):
    work = LocalWork(epochs, batch_size, 0.05, mu)
    assert_close(trained(build(make), examples, work), reference(build(make), examples, work))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(("epochs", "batches"), [(1, 1), (1, 3), (3, 2), (1, 5), (2, 99)])
def test_a_straggler_stops_an_epoch_after_some_mini_batches(make, examples, epochs, batches):
    work = LocalWork(epochs, 5, 0.05, 0.5, batches=batches)
    assert_close(trained(build(make), examples, work), reference(build(make), examples, work))


def test_all_mini_batches_are_what_is_done_without_a_limit(examples):
    limited, full = (LocalWork(2, 5, 0.05, 0.5, batches=batches) for batches in (5, None))
    expected = trained(build(make_mlp), examples, full)
    assert_equal(trained(build(make_mlp), examples, limited), expected)


def test_the_proximal_gradient_enters_every_batch(examples, monkeypatch):
    """Compare every step with -eta (g + mu (w - w_global)) of the weights as they are then."""
    model = build(make_mlp)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    moved = []

    class Recording(Sgd):
        def step(self, gradient):
            before = [parameter.detach().clone() for parameter in self._w]
            super().step(gradient)
            for now, then, g, origin in zip(self._w, before, gradient, start, strict=True):
                torch.testing.assert_close(now, then - 0.1 * (g + 0.7 * (then - origin)))
            steps = zip(before, start, strict=True)
            moved.append(max((a - b).abs().max().item() for a, b in steps))

    monkeypatch.setattr("common.client.local_sgd.make_optimizer", Recording)
    train_locally(model, *examples, LocalWork(3, 5, 0.1, mu=0.7), np.random.default_rng(0))
    assert len(moved) == 3 * 5
    assert moved[0] == 0
    assert min(moved[1:]) > 0


def test_at_mu_of_zero_a_network_ends_where_plain_sgd_does_to_the_last_bit(examples):
    work = LocalWork(3, 5, 0.1, mu=0.0)
    found = trained(build(make_mlp), examples, work)
    assert_equal(found, reference(build(make_mlp), examples, work))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("mu", [0.0, 0.5])
@pytest.mark.parametrize(("epochs", "batch_size"), [(1, 5), (4, 23), (3, 1)])
def test_momentum_is_that_of_torch_with_the_proximal_term_in_the_loss(
    make, examples, mu, epochs, batch_size
):
    work = LocalWork(epochs, batch_size, 0.01, mu, momentum=0.9)
    found = trained(build(make), examples, work)
    assert_close(found, reference(build(make), examples, work))
    assert not are_equal(found, trained(build(make), examples, replace(work, momentum=0.0)))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_weight_decay_of_sgd_is_that_of_torch(make, examples, momentum, mu):
    """Coupled, that is, and not forgotten on the compiled path of logistic regression."""
    work = LocalWork(3, 5, 0.05, mu, momentum=momentum, weight_decay=0.1)
    found = trained(build(make), examples, work)
    expected = reference(build(make), examples, work)
    assert_close(found, expected)
    assert not are_equal(found, trained(build(make), examples, replace(work, weight_decay=0.0)))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_at_mu_of_zero_weight_decay_is_that_of_torch_to_the_last_bit(examples, momentum):
    work = LocalWork(3, 5, 0.05, 0.0, momentum=momentum, weight_decay=0.1)
    found = trained(build(make_mlp), examples, work)
    assert_equal(found, reference(build(make_mlp), examples, work))


@pytest.mark.parametrize("make", MODELS)
def test_every_round_begins_at_rest(make, examples):
    """Two rounds of an epoch are not one of two: no velocity is left of the first."""
    work = LocalWork(1, 5, 0.05, mu=0.0, momentum=0.9)
    model, expected = build(make), build(make)
    for seed in (0, 1):
        found = trained(model, examples, work, seed)
        assert_close(found, reference(expected, examples, work, seed))
    assert not are_equal(found, trained(build(make), examples, replace(work, epochs=2)))


@pytest.mark.parametrize("make", MODELS)
def test_mu_changes_the_result(make, examples):
    without = trained(build(make), examples, LocalWork(2, 5, 0.1, mu=0.0))
    with_mu = trained(build(make), examples, LocalWork(2, 5, 0.1, mu=1.0))
    assert not any(torch.equal(without[name], with_mu[name]) for name in without)


@pytest.mark.parametrize("make", MODELS)
def test_every_epoch_of_the_budget_counts(make, examples):
    works = (LocalWork(epochs, 5, 0.1, 1.0) for epochs in (1, 2, 3))
    one, two, three = (trained(build(make), examples, work) for work in works)
    assert not are_equal(one, two)
    assert not are_equal(two, three)


def freeze(make, name):
    model = build(make)
    model.get_parameter(name).requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("make", "name"),
    [(make_mlp, "0.weight"), (make_cnn, "1.bias"), (make_logistic, "bias")],
)
def test_only_trainable_parameters_are_trained(make, name, examples):
    work = LocalWork(3, 5, 0.1, mu=2.0)
    found = trained(freeze(make, name), examples, work)
    assert torch.equal(found[name], weights(build(make))[name])
    assert_close(found, reference(freeze(make, name), examples, work))


def test_a_linear_layer_without_biases_is_a_model_like_any_other(examples):
    work = LocalWork(2, 5, 0.1, mu=2.0)

    def make():
        return nn.Linear(9, 4, bias=False)

    assert_close(trained(build(make), examples, work), reference(build(make), examples, work))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_batch_norm_statistics_are_no_parameters(examples, momentum):
    """Neither mu nor momentum moves a buffer: they follow the batches as torch has it."""
    work = LocalWork(3, 6, 0.01, mu=2.0, momentum=momentum)
    found = trained(build(make_batch_norm), examples, work)
    assert found["1.num_batches_tracked"] == 3 * 4
    assert_close(found, reference(build(make_batch_norm), examples, work), tolerance=2e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_mu_that_holds_the_parameters_in_place_lets_the_statistics_go(examples, momentum):
    """At eta mu = 1 a step undoes the one before: the parameters stay within 1e-6 of w_global."""
    work = LocalWork(1, 23, 1e-7, mu=1e7, momentum=momentum)
    start = weights(build(make_batch_norm))
    found = trained(build(make_batch_norm), examples, replace(work, epochs=9))
    seen = torch.tensor(examples[0]) @ start["0.weight"].T + start["0.bias"]
    left = 0.9**9  # Of the statistics before, after nine forward passes over the one batch.
    for name, start_from, of_batch in (
        ("1.running_mean", 0, seen.mean(dim=0)),
        ("1.running_var", 1, seen.var(dim=0)),
    ):
        expected = left * start_from + (1 - left) * of_batch
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
    for name in ("0.weight", "1.weight", "3.weight"):
        torch.testing.assert_close(found[name], start[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", MODELS)
def test_no_epochs_leave_the_model_as_it_was(make, examples):
    assert_equal(trained(build(make), examples, LocalWork(0, 5, 0.1, 1.0)), weights(build(make)))


@pytest.mark.parametrize("make", MODELS)
def test_no_examples_leave_the_model_as_it_was(make):
    nothing = np.empty((0, 9), np.float32), np.empty(0, np.int64)
    assert_equal(trained(build(make), nothing, LocalWork(3, 5, 0.1, 1.0)), weights(build(make)))


@pytest.mark.parametrize("make", MODELS)
def test_an_input_that_is_not_a_number_is_not_hidden(make, examples):
    x, y = examples
    x[4] = np.nan
    found = trained(build(make), (x, y), LocalWork(2, 5, 0.1, 1.0))
    assert all(value.isnan().all() for value in found.values())


@pytest.mark.parametrize("make", MODELS)
def test_gives_the_same_bits_for_the_same_generator(make, examples):
    work = LocalWork(3, 5, 0.1, 1.0)
    first, second, other = (trained(build(make), examples, work, seed) for seed in (1, 1, 2))
    assert_equal(first, second)
    assert not are_equal(first, other)


@pytest.mark.parametrize("make", MODELS)
def test_neither_reads_nor_changes_global_random_state(make, examples):
    work = LocalWork(2, 5, 0.1, 1.0)
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build(make)
            states = torch.get_rng_state(), np.random.get_state()[1].copy()
            results.append(trained(model, examples, work))
            assert torch.equal(torch.get_rng_state(), states[0])
            assert np.array_equal(np.random.get_state()[1], states[1])
    assert_equal(*results)


def test_gives_the_same_bits_whatever_the_number_of_threads_was():
    """The layer is wide enough that torch would split its sums over threads."""
    rng = np.random.default_rng(0)
    examples = rng.standard_normal((200, 9), dtype=np.float32), rng.integers(0, 4, 200)

    def make():
        return nn.Sequential(nn.Linear(9, 2000), nn.ReLU(), nn.Linear(2000, 4))

    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        results.append(trained(build(make), examples, LocalWork(2, 100, 0.1, 1.0)))
        assert torch.get_num_threads() == 1
    assert_equal(results[1], results[0])
    assert_equal(results[2], results[0])


@pytest.mark.parametrize("make", MODELS)
def test_leaves_the_examples_as_they_were(make, examples):
    x, y = (array.copy() for array in examples)
    trained(build(make), examples, LocalWork(2, 5, 0.1, 1.0))
    np.testing.assert_array_equal(examples[0], x)
    np.testing.assert_array_equal(examples[1], y)


def test_reads_examples_that_may_not_be_written(examples):
    """As they come from a memory map."""
    for array in examples:
        array.flags.writeable = False
    for make in MODELS:
        before = weights(build(make))
        assert not are_equal(trained(build(make), examples, LocalWork(1, 5, 0.1, 1.0)), before)


def test_dropout_draws_from_the_clients_generator(examples):
    def make():
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.Dropout(0.5), nn.Linear(8, 3))

    x, y = examples
    start = make()
    start(torch.tensor(x))
    work = LocalWork(epochs=2, batch_size=5, learning_rate=0.1, mu=0.0)

    def run(seed, global_seed):
        model = make()
        model(torch.tensor(x))
        model.load_state_dict(start.state_dict())
        torch.manual_seed(global_seed)
        train_locally(model, x, y % 3, work, np.random.default_rng(seed))
        return weights(model)

    assert_equal(run(0, global_seed=1), run(0, global_seed=2))
    assert not are_equal(run(0, global_seed=1), run(1, global_seed=1))


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 2))
def test_batches_are_the_whole_epoch_in_order(num_examples, batch_size, least):
    order = torch.arange(num_examples).flip(0)
    found = list(batches(order, batch_size, least))
    assert torch.equal(torch.cat(found), order)
    assert {len(batch) for batch in found[:-1]} <= {batch_size}
    assert len(found[-1]) >= min(least, batch_size, num_examples)
    assert len(found[-1]) < batch_size + least


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "least", "sizes"),
    [
        (9, 4, 2, [4, 5]),
        (9, 4, 1, [4, 4, 1]),
        (10, 4, 2, [4, 4, 2]),
        (8, 4, 2, [4, 4]),
        (5, 4, 2, [5]),
        (1, 4, 2, [1]),  # There is none to join.
        (3, 1, 2, [1, 1, 1]),
    ],
)
def test_an_example_alone_joins_the_batch_before(num_examples, batch_size, least, sizes):
    found = batches(torch.arange(num_examples), batch_size, least)
    assert [len(batch) for batch in found] == sizes


@pytest.mark.parametrize(("make", "steps"), [(make_batch_norm, 2), (make_mlp, 3)])
def test_it_does_so_where_there_is_batch_norm(make, steps, examples):
    work = LocalWork(1, 11, 0.1, 0.0)  # 23 = 11 + 11 + 1.
    found = train_locally(build(make), *examples, work, np.random.default_rng(0))
    assert found.num_steps == steps


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("make", MODELS)
def test_a_client_of_one_example_is_trained(make, momentum, examples):
    x, y = examples
    work = LocalWork(3, 5, 0.05, 0.5, momentum=momentum)
    found = trained(build(make), (x[:1], y[:1]), work)
    assert_close(found, reference(build(make), (x[:1], y[:1]), work))


def test_examples_on_disk_are_those_in_memory(examples, tmp_path):
    """Rows of a file, whose batches are read and made ready one by one: the same bits."""
    x, y = examples
    rows = np.random.default_rng(0).permutation(40)[:23]
    stored = np.zeros((40, 9), np.float32)
    stored[rows] = x / 2
    np.save(tmp_path / "x.npy", stored)
    memory_map = np.load(tmp_path / "x.npy", mmap_mode="r")
    inputs = OnDisk(memory_map, rows, torch.device("cpu"), lambda half: half.mul_(2))
    for make in (make_mlp, make_batch_norm):
        work = LocalWork(2, 5, 0.05, 0.5, momentum=0.9)
        expected = trained(build(make), examples, work)
        assert_equal(trained(build(make), (inputs, y), work), expected)
    # Logistic regression, too, which then takes the path of any other model.
    work = LocalWork(2, 5, 0.05, 0.5)
    expected = trained(build(make_logistic), examples, work)
    assert_close(trained(build(make_logistic), (inputs, y), work), expected)


@pytest.mark.parametrize(("n_k", "epochs"), [(1, 3), (2, 50), (23, 7)])
def test_every_epoch_goes_through_all_examples_once(n_k, epochs):
    orders = epoch_orders(n_k, epochs, np.random.default_rng(0))
    assert orders.shape == (epochs, n_k)
    assert orders.dtype == np.int64
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(n_k), (epochs, 1)))


def test_every_order_is_as_likely_as_the_others():
    orders = epoch_orders(3, 6000, np.random.default_rng(0))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(1000)


def relative_difference(found, expected):
    total = sum((found[name].double() - value).square().sum() for name, value in expected.items())
    return (total / sum(value.square().sum() for value in expected.values())).sqrt().item()


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_channels_last_is_as_near_to_the_truth_as_any_other_format(mu):
    """Its convolutions sum in another order: compare both with float64."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 2 * 64), dtype=np.float32), rng.integers(0, 4, 40)

    def make():
        return nn.Sequential(
            nn.Unflatten(1, (2, 8, 8)),
            nn.Conv2d(2, 8, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, kernel_size=3),
            nn.BatchNorm2d(16, track_running_stats=False),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 9, 4),
        )

    work = LocalWork(4, 5, 0.05, mu)
    truth = reference(build(make).double(), (x.astype(np.float64), y), work)
    model = build(make)
    found = trained(model, (x, y), work)
    usual = reference(build(make), (x, y), work)
    assert model[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert relative_difference(found, usual) < 2e-6
    assert relative_difference(found, truth) < 2 * max(relative_difference(usual, truth), 1e-7)


def test_channels_last_does_not_show_in_what_is_sent(examples):
    def make():
        return nn.Sequential(make_cnn()[0], nn.Conv2d(1, 3, 2), nn.Conv2d(3, 2, 2), nn.Flatten())

    model = build(make)
    before = ArrayRecord(model.state_dict())
    x, y = examples
    trained(model, (x, y % 2), LocalWork(1, 5, 1e-30, 0.0))
    assert not model[2].weight.is_contiguous()
    for sent in (ArrayRecord(model.state_dict()), to_arrays(model)):
        assert sent == before


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", [make_mlp, make_cnn, make_batch_norm])
def test_half_precision_is_near_float32_but_not_it(make, precision, examples):
    start = weights(build(make))
    exact = trained(build(make), examples, LocalWork(6, 5, 0.05, 0.5))
    model = build(make)
    found = trained(model, examples, LocalWork(6, 5, 0.05, 0.5, precision=precision))
    assert {name: w.dtype for name, w in found.items()} == {n: w.dtype for n, w in exact.items()}
    moved = relative_difference(start, exact)
    assert 1e-5 < relative_difference(found, exact) < 0.05 * moved
    again = trained(build(make), examples, LocalWork(6, 5, 0.05, 0.5, precision=precision))
    assert_equal(again, found)


def test_the_precision_is_what_the_layers_compute_in(examples):
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.dtype)
            return x

    for precision in ("float32", "bfloat16", "float16"):
        model = nn.Sequential(nn.Linear(9, 4), Spy())
        work = LocalWork(1, 23, 0.1, 0.0, precision=precision)
        train_locally(model, *examples, work, np.random.default_rng(0))
    assert seen == [torch.float32, torch.bfloat16, torch.float16]
    assert torch.is_autocast_enabled("cpu") is False


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_precision_of_one_linear_layer_is_not_ignored(precision, examples):
    work = LocalWork(2, 5, 0.1, 0.0)
    exact = trained(build(make_logistic), examples, work)
    found = trained(build(make_logistic), examples, replace(work, precision=precision))
    assert 1e-5 < relative_difference(found, exact) < 0.02


def sure_of_class_0(bias):
    """Return logistic regression with the odds e^bias for class 0, whatever the example."""
    model = build(make_logistic)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([bias, 0, 0, 0]))
    return model


def test_the_loss_is_scaled_so_that_small_gradients_are_not_lost_in_float16(examples):
    """Those of the logits are 2e-9, where float16 has no numbers but 0 below 6e-8."""
    x, y = examples[0][:1], np.zeros(1, np.int64)
    seen = []
    work = LocalWork(1, 1, 0.1, 0.0, precision="float16")
    rng = np.random.default_rng(0)
    train_locally(sure_of_class_0(20.0), x, y, work, rng, lambda gradient: seen.extend(gradient))
    expected = sure_of_class_0(20.0)
    nn.functional.cross_entropy(expected(torch.tensor(x)), torch.tensor(y)).backward()
    torch.testing.assert_close(seen[1], expected.bias.grad, rtol=1e-3, atol=0)
    assert 0 < seen[1][1:].min() < 3e-9


def test_a_step_whose_gradients_overflow_in_float16_is_skipped(examples):
    """That of a logit is 1, and 2^16 times that is more than float16 has: in every round."""
    x, y = examples[0].clip(-1, 1), np.ones(len(examples[1]), np.int64)
    work = LocalWork(1, 1, 0.1, 0.0, precision="float16", batches=3)
    for seed in (0, 1):
        model, hooked = sure_of_class_0(50.0), []
        found = train_locally(model, x, y, work, np.random.default_rng(seed), hooked.append)
        assert (found.num_steps, found.num_skipped, len(hooked)) == (2, 1, 2)
        # The first example changed nothing, the others what they change in float32.
        order = epoch_orders(len(y), 1, np.random.default_rng(seed))[0, 1:3]
        expected = sure_of_class_0(50.0)
        optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
        for i in order:
            optimizer.zero_grad()
            logits = expected(torch.tensor(x[[i]]))
            nn.functional.cross_entropy(logits, torch.tensor(y[[i]])).backward()
            optimizer.step()
        assert_close(weights(model), weights(expected), tolerance=1e-3)


def test_a_client_that_diverges_in_float16_is_seen(examples):
    """Without end its steps would be skipped, and w_global be what it sends."""
    x, y = examples
    work = LocalWork(1, 1, 0.1, 0.0, precision="float16")
    found = trained(build(make_mlp), (x * np.float32(np.nan), y), work)
    assert all(value.isnan().all() for value in found.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_is_skipped_but_in_float16(precision, examples):
    x, y = examples[0], np.ones(len(examples[1]), np.int64)
    work = LocalWork(1, 1, 0.1, 0.0, precision=precision)
    found = train_locally(sure_of_class_0(50.0), x, y, work, np.random.default_rng(0))
    assert (found.num_steps, found.num_skipped) == (23, 0)


def test_a_correction_is_added_to_the_gradient_of_every_batch(examples):
    """Against a model that has it in its loss: <correction, w> has that gradient everywhere."""
    model, expected = build(make_mlp), build(make_mlp)
    rng = torch.Generator().manual_seed(1)
    correction = [torch.randn(w.shape, generator=rng) for w in model.parameters()]
    train_locally(
        model,
        *examples,
        LocalWork(2, 5, 0.05, 0.0),
        np.random.default_rng(0),
        lambda gradient: torch._foreach_add_(gradient, correction),
    )
    x, y = map(torch.tensor, examples)
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(len(y)), (2, 1)), axis=1)
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.05)
    for order in torch.tensor(orders):
        for batch in torch.split(order, 5):
            optimizer.zero_grad()
            products = zip(correction, expected.parameters(), strict=True)
            loss = nn.functional.cross_entropy(expected(x[batch]), y[batch])
            (loss + sum((c * w).sum() for c, w in products)).backward()
            optimizer.step()
    assert_close(weights(model), weights(expected))


@pytest.mark.parametrize("make", [make_mlp, make_logistic])
@pytest.mark.parametrize("num_frozen", [0, 1])
def test_a_hook_sees_and_changes_the_gradients_of_the_trained_parameters(
    make, num_frozen, examples
):
    """Zeros in their place leave the model as it was, logistic regression as any other."""
    model = build(make)
    for w in [*model.parameters()][:num_frozen]:
        w.requires_grad_(False)
    trained_ones = [*model.parameters()][num_frozen:]
    seen = []

    def stop(gradient):
        seen.append([(g.shape, g.dtype, bool(g.any())) for g in gradient])
        torch._foreach_zero_(gradient)

    work = LocalWork(2, 12, 0.05, 0.5)
    train_locally(model, *examples, work, np.random.default_rng(0), stop)
    assert seen == [[(w.shape, torch.float32, True) for w in trained_ones]] * 4
    assert_equal(weights(model), weights(build(make)))


@pytest.mark.parametrize("make", MODELS)
def test_steps_are_counted(make, examples):
    rng = np.random.default_rng(0)
    n_k = len(examples[1])
    for limit, of_epoch in ((None, -(-n_k // 4)), (2, 2)):
        work = LocalWork(3, 4, 0.05, 0.0, batches=limit)
        assert train_locally(build(make), *examples, work, rng).num_steps == 3 * of_epoch
    assert train_locally(build(make), *examples, LocalWork(0, 4, 0.05, 0.0), rng).num_steps == 0


def test_the_training_loss_is_the_mean_over_the_examples_of_the_last_epoch(examples):
    """With one batch an epoch it is the loss of the model that the epoch begins with."""
    work = LocalWork(3, 10_000, 0.05, 0.0)
    found = train_locally(build(make_mlp), *examples, work, np.random.default_rng(0))
    model = build(make_mlp)
    trained(model, examples, LocalWork(2, 10_000, 0.05, 0.0))
    x, y = map(torch.tensor, examples)
    loss = nn.functional.cross_entropy(model(x), y).item()
    assert found.train_loss == pytest.approx(loss, rel=1e-5)
