import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from distilbert_failures.lora import add_lora, make_aggregation, trained_state, travelling_state
from hypothesis import given, settings
from hypothesis import strategies as st
from refusal import refusal
from torch import nn

from common.arrays import load_arrays, to_arrays
from common.strategy.aggregate import Aggregation
from common.strategy.server_optimizer import FedAvgM

AGGREGATIONS = ["naive", "freeze_a", "exact"]
A, B = "query.lora_A.default.weight", "query.lora_B.default.weight"
RESIDUAL = "query.base_layer.residual"
HEAD = ["classifier.weight", "classifier.bias"]


def network(aggregation, out=3, into=4, rank=2, alpha=3.0, dropout=0.0, seed=0):
    """Return a layer with an adapter and a head; alone the latter two depend on the seed."""
    torch.manual_seed(99)
    layer = nn.Linear(into, out)
    torch.manual_seed(seed)
    model = nn.Sequential(OrderedDict(query=layer, classifier=nn.Linear(out, 2)))
    add_lora(model, rank, alpha, dropout, "", aggregation, ["classifier"])
    return model


def overwrite(model, rng):
    """Make what a client trains, and the residuals, some numbers."""
    for tensor in travelling_state(model).values():
        tensor.copy_(torch.from_numpy(rng.standard_normal(tensor.shape)))


def weight_of(model):
    """Return the weight of the adapted layer as its outputs show it, float64 [out, in]."""
    layer = copy.deepcopy(model.query).double().eval()
    with torch.no_grad():
        return (layer(torch.eye(layer.in_features).double()) - layer.base_layer.bias).T.numpy()


def play_round(model, counts, train):
    """Let clients change the global model, average them into it, and return their weights."""
    w_global = to_arrays(travelling_state(model))
    aggregation = make_aggregation(model)
    mean = aggregation.start(w_global)
    weights = []
    for k, n_k in enumerate(counts):
        client = copy.deepcopy(model)
        train(k, trained_state(client))
        weights.append(weight_of(client))
        mean.add(to_arrays(trained_state(client)), n_k)
    load_arrays(travelling_state(model), aggregation.next_model(w_global, mean.result()))
    return weights


def train_at_random(rng):
    def train(k, state):
        for tensor in state.values():
            tensor.copy_(torch.from_numpy(rng.standard_normal(tensor.shape)))

    return train


@pytest.mark.parametrize(
    ("aggregation", "counts", "expected"),
    [
        ("naive", [1, 1], 2 * 2 * 3),  # Where 2 (3 * 2 + 1 * 4) / 2 = 10 is right.
        ("naive", [1, 3], 2 * 1.5 * 3.5),  # Where 2 (3 * 2 + 3 * 1 * 4) / 4 = 9 is right.
        ("exact", [1, 1], 10),
        ("exact", [1, 3], 9),
    ],
)
def test_by_hand(aggregation, counts, expected):
    """Of rank 1, between one input and one output: A is 2 and 4, B is 3 and 1, and alpha is 2."""
    model = network(aggregation, out=1, into=1, rank=1, alpha=2.0)
    model.query.base_layer.weight.data.zero_()

    def train(k, state):
        state[A].fill_([2, 4][k])
        state[B].fill_([3, 1][k])

    weights = play_round(model, counts, train)
    assert [w.item() for w in weights] == [12, 8]
    assert weight_of(model).item() == expected
    if aggregation == "exact":
        assert travelling_state(model)[RESIDUAL].item() == expected - 2 * (
            trained_state(model)[A] * trained_state(model)[B]
        )


@settings(max_examples=30)
@given(
    st.sampled_from(["freeze_a", "exact"]),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.floats(0.5, 8),
    st.lists(st.integers(1, 1000), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_the_weight_is_the_mean_of_the_clients_weights(aggregation, shape, alpha, counts, seed):
    """In the second round the residual of the first is there."""
    out, into, rank = shape
    model = network(aggregation, out, into, rank, alpha)
    rng = np.random.default_rng(seed)
    for _ in range(2):
        weights = play_round(model, counts, train_at_random(rng))
        expected = np.average(weights, axis=0, weights=counts)
        scale = max(1.0, max(np.abs(w).max() for w in weights))
        np.testing.assert_allclose(weight_of(model), expected, atol=1e-6 * scale)


def test_averaging_both_is_another_weight():
    model = network("naive")
    weights = play_round(model, [1, 1], train_at_random(np.random.default_rng(0)))
    assert np.abs(weight_of(model) - np.mean(weights, axis=0)).max() > 0.1


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_of_a_single_client_every_mean_is_its_model(aggregation):
    model = network(aggregation)
    overwrite(model, np.random.default_rng(0))
    residual = travelling_state(model).get(RESIDUAL, torch.zeros(0)).clone()
    (weight,) = play_round(model, [7], train_at_random(np.random.default_rng(1)))
    assert (weight_of(model) == weight).all()
    assert torch.equal(travelling_state(model).get(RESIDUAL, torch.zeros(0)), residual)


@pytest.mark.parametrize("counts", [[], [0, 0]])
def test_without_weight_the_residual_stays(counts):
    model = network("exact")
    overwrite(model, np.random.default_rng(0))
    before = to_arrays(travelling_state(model))
    play_round(model, counts, train_at_random(np.random.default_rng(1)))
    assert to_arrays(travelling_state(model)) == before


@pytest.mark.parametrize(
    ("aggregation", "sent", "broadcast"),
    [
        ("naive", [A, B, *HEAD], [A, B, *HEAD]),
        ("freeze_a", [B, *HEAD], [B, *HEAD]),
        ("exact", [A, B, *HEAD], [RESIDUAL, A, B, *HEAD]),
    ],
)
def test_what_travels(aggregation, sent, broadcast):
    model = network(aggregation)
    assert list(trained_state(model)) == sent
    assert list(travelling_state(model)) == broadcast
    up, down = to_arrays(trained_state(model)), to_arrays(travelling_state(model))
    assert (up.count_bytes() < down.count_bytes()) == (aggregation == "exact")
    found = make_aggregation(model)
    assert list(found.broadcast_only) == broadcast[: len(broadcast) - len(sent)]
    assert found.sent_parameters(down) == sent


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_state_there_and_back(aggregation):
    """What does not travel is the same everywhere, as is A where it is frozen."""
    sender, receiver = network(aggregation), network(aggregation)
    overwrite(sender, np.random.default_rng(0))
    inputs = torch.ones(5, 4)
    assert not torch.equal(sender(inputs), receiver(inputs))
    load_arrays(travelling_state(receiver), to_arrays(travelling_state(sender)))
    assert torch.equal(sender(inputs), receiver(inputs))


def test_adapters_are_a_function_of_the_seed():
    """However they are averaged; they begin with B = 0."""
    states = {
        (aggregation, seed): network(aggregation, seed=seed).state_dict()
        for aggregation in AGGREGATIONS
        for seed in (0, 1)
    }
    for aggregation in AGGREGATIONS:
        assert torch.equal(states[aggregation, 0][A], states["naive", 0][A])
        assert not torch.equal(states[aggregation, 0][A], states[aggregation, 1][A])
        assert not states[aggregation, 0][B].any()


def test_dropout_is_of_the_adapters_inputs_in_training():
    model = network("naive", dropout=0.5)
    inputs = torch.ones(5, 4)
    model.train()
    assert torch.equal(model(inputs), model.eval()(inputs))  # B = 0
    overwrite(model, np.random.default_rng(0))
    model.train()
    assert not torch.equal(model(inputs), model.eval()(inputs))


def test_an_exact_mean_cannot_be_moved_elsewhere():
    model = network("exact")
    parameters = {key: tensor.numpy() for key, tensor in trained_state(model).items()}
    optimizer = FedAvgM(parameters, server_learning_rate=1.0, beta_1=0.5)
    with pytest.raises(ValueError, match="exclude each other"):
        make_aggregation(model, server_optimizer=optimizer)


def test_without_adapters_all_that_is_trained_is_averaged():
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 1))
    assert travelling_state(model).keys() == trained_state(model).keys() == {"1.weight", "1.bias"}
    expected = Aggregation(["1.weight", "1.bias"], "uniform")
    assert make_aggregation(model, "uniform") == expected


def transformer(name):
    """Return a tiny one to classify sequences, as Hugging Face makes it, and its head."""
    from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig

    torch.manual_seed(0)
    if name == "distilbert":
        config = DistilBertConfig(vocab_size=20, dim=8, hidden_dim=8, n_layers=2, n_heads=2)
        head = ["pre_classifier", "classifier"]
    else:
        config = BertConfig(
            vocab_size=20,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
        )
        head = ["bert.pooler", "classifier"]
    return AutoModelForSequenceClassification.from_config(config).eval(), head


TOKENS = torch.arange(12).reshape(2, 6)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(
    ("name", "adapted"), [("distilbert", ("q_lin", "v_lin")), ("bert", ("query", "value"))]
)
def test_gradients_are_of_adapters_and_head_alone(name, adapted, aggregation):
    model, head = transformer(name)
    before = model(TOKENS).logits
    add_lora(model, 2, 4.0, 0.0, "", aggregation, head)
    assert torch.equal(model(TOKENS).logits, before)
    nn.functional.cross_entropy(model(TOKENS).logits, torch.tensor([0, 1])).backward()
    with_gradient = {name for name, w in model.named_parameters() if w.grad is not None}
    assert with_gradient == trained_state(model).keys()
    # Both layers' adapters, without A where it is frozen; weight and bias of both head layers.
    num_matrices = 1 if aggregation == "freeze_a" else 2
    assert len(with_gradient) == 2 * len(adapted) * num_matrices + 4
    for key in with_gradient:
        assert any(key.startswith(f"{module}.") for module in head) or any(
            f".{target}.lora_" in key for target in adapted
        )


@pytest.mark.parametrize(
    ("target_modules", "found"),
    [
        ("lin1", {"ffn.lin1"}),
        (" q_lin + ffn.lin2", {"attention.q_lin", "ffn.lin2"}),
        ("layer.1.attention.k_lin", {"attention.k_lin"}),
    ],
)
def test_targets_are_last_parts_of_names(target_modules, found):
    model, head = transformer("distilbert")
    add_lora(model, 1, 1.0, 0.0, target_modules, "naive", head)
    layers = {key.partition(".lora_")[0] for key in trained_state(model) if ".lora_" in key}
    assert {".".join(layer.split(".")[-2:]) for layer in layers} == found
    assert len(layers) == (1 if "layer.1" in target_modules else 2 * len(found))


@pytest.mark.parametrize(
    ("target_modules", "unmatched"),
    [
        ("q_lin+query", "query"),
        ("lin", "lin"),
        ("classifier", "classifier"),
        ("attention", "attention"),
        ("q_lin+", ""),
        (" ", ""),
    ],
)
def test_targets_that_are_not_there_are_refused(target_modules, unmatched):
    model, head = transformer("distilbert")
    before = list(model.state_dict())
    assert refusal(add_lora, model, 1, 1.0, 0.0, target_modules, "naive", head) == (
        f"lora_target_modules={target_modules!r} is not allowed: it must name linear layers of the "
        f"model's encoder, which are q_lin, k_lin, v_lin, out_lin, lin1, lin2, but not "
        f"{unmatched!r}."
    )
    assert list(model.state_dict()) == before


def test_a_model_without_queries_and_values_needs_targets():
    model = nn.Sequential(OrderedDict(first=nn.Linear(2, 2), classifier=nn.Linear(2, 2)))
    why = refusal(add_lora, model, 1, 1.0, 0.0, "", "naive", ["classifier"])
    assert why.startswith("lora_target_modules='' is not allowed: it must name linear layers")
    assert why.endswith("which are first.")
