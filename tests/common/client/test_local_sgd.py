import numpy as np
import pytest
import torch
from torch import nn

from common.client import LocalWork, train_locally
from common.client.local_sgd import add_proximal_gradient


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
    optimizer = torch.optim.SGD(w, lr=work.learning_rate)
    for _ in range(work.epochs):
        order = torch.tensor(rng.permutation(len(y)))
        for start in range(0, len(y), work.batch_size):
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


def test_the_proximal_gradient_enters_every_batch(examples, monkeypatch):
    """Compare every call with mu (w - w_global) of the weights that the model has at that time."""
    model = build(make_mlp)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    moved = []

    def recording(gradient, w, w_global, mu):
        before = [g.clone() for g in gradient]
        add_proximal_gradient(gradient, w, w_global, mu)
        for g, g0, now, then in zip(gradient, before, model.parameters(), start, strict=True):
            torch.testing.assert_close(g, g0 + 0.7 * (now.detach() - then))
        moved.append(max((g - g0).abs().max().item() for g, g0 in zip(gradient, before)))  # noqa: B905

    monkeypatch.setattr("common.client.local_sgd.add_proximal_gradient", recording)
    train_locally(model, *examples, LocalWork(3, 5, 0.1, mu=0.7), np.random.default_rng(0))
    assert len(moved) == 3 * 5
    assert moved[0] == 0
    assert min(moved[1:]) > 0


def test_the_proximal_gradient_by_hand():
    gradient = (torch.tensor([1.0, 2.0]), torch.tensor([[-1.0]]))
    w = [torch.tensor([3.0, 5.0]), torch.tensor([[0.0]])]
    w_global = [torch.tensor([1.0, 1.0]), torch.tensor([[4.0]])]
    add_proximal_gradient(gradient, w, w_global, mu=0.5)
    assert gradient[0].tolist() == [2.0, 4.0]
    assert gradient[1].tolist() == [[-3.0]]
    assert [tensor.tolist() for tensor in (*w, *w_global)] == [[3, 5], [[0]], [1, 1], [[4]]]


def test_mu_of_zero_adds_nothing_at_all():
    gradient = (torch.tensor([-0.0, 1.0]),)
    add_proximal_gradient(gradient, [torch.tensor([0.0, torch.inf])], [torch.zeros(2)], mu=0.0)
    assert gradient[0].tolist() == [-0.0, 1.0]
    assert torch.signbit(gradient[0][0])


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


def test_batch_norm_statistics_are_no_parameters(examples):
    """mu pulls no buffer back: they follow the batches as torch has it."""
    work = LocalWork(3, 6, 0.05, mu=2.0)

    def make():
        return nn.Sequential(nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    found = trained(build(make), examples, work)
    assert found["1.num_batches_tracked"] == 3 * 4
    assert_close(found, reference(build(make), examples, work), tolerance=2e-5)


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
