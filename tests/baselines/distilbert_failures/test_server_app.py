import numpy as np
import pytest
import tiny_encoders
from distilbert_failures import client_app, server_app
from distilbert_failures.dataset import load_dataset
from distilbert_failures.encoder import fingerprint
from distilbert_failures.lora import travelling_state
from distilbert_failures.model import make_tail
from refusal import refusal
from run_folders import read_environment, read_outcome, read_rounds, read_summary
from safetensors.numpy import load_file
from tiny_encoders import DISTILBERT

from common.client.work import LocalTraining

HEAD = {"trainable": "head", "learning_rate": 0.05}
SGD = {"optimizer": "sgd", "learning_rate": 0.05}


def model_of(folder):
    return load_file(folder / "model.safetensors")


def initial_model(config):
    return {key: w.numpy().copy() for key, w in travelling_state(make_tail(config, 4)).items()}


def test_a_run_leaves_what_it_measured(finished):
    folder = finished(**HEAD, evaluate_clients=True)
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml", "environment.json", "rounds.jsonl", "model.safetensors", "summary.json"
    }  # fmt: skip
    rounds, summary = read_rounds(folder), read_summary(folder)
    assert [line["round"] for line in rounds] == [1, 2]
    for line in rounds:
        assert line.keys() >= {
            "test_accuracy", "test_loss", "train_loss", "mu", "clients", "world_accuracy",
            "sports_accuracy", "business_accuracy", "sci_tech_accuracy", "worst_class_accuracy",
            "worst_mix_accuracy", "label_total_variation", "divergence", "divergence_relative",
            "divergence_to_update", "drift", "update_cosine", "update_norm", "client_train_loss",
            "client_test_accuracy", "worst_client_test_accuracy", "bytes_up", "bytes_down",
            "client_bytes_up", "client_bytes_down",
            "failure_modes", "seconds",
        }  # fmt: skip
        assert line["clients"] == [0, 1, 2]
        assert line["stragglers"] == []
        assert line["train_loss"] is None
        assert line["mu"] == 0.1
        assert 0 < line["update_norm"] < line["drift"]
        assert line["divergence"] > 0
    assert summary["worst_class_accuracy"] == rounds[-1]["worst_class_accuracy"]
    environment = read_environment(folder)
    assert environment["weights"] == fingerprint(DISTILBERT)


@pytest.mark.parametrize(
    ("keys", "accuracy"),
    [
        ({"trainable": "all", "num_epochs": 2, "learning_rate": 0.01}, 0.9),
        ({"trainable": "last_2", "num_epochs": 4, "learning_rate": 0.003}, 0.6),
    ],
    ids=["all", "last_2"],
)
def test_it_learns(finished, keys, accuracy):
    rounds = read_rounds(finished(**keys, partition="iid", num_rounds=4))
    assert rounds[-1]["test_accuracy"] > accuracy
    for loss in ("test_loss", "client_train_loss"):
        assert rounds[-1][loss] < 0.75 * rounds[0][loss]


@pytest.mark.parametrize(
    ("trainable", "encoder"),
    [("last_2", DISTILBERT), ("head", DISTILBERT), ("last_2", tiny_encoders.BERT)],
)
def test_caching_frozen_layers_changes_nothing_but_rounding(
    finished, make_config, trainable, encoder
):
    """With dropout in what is trained.

    By SGD: AdamW makes steps of noise where a gradient is 0, as that of the keys' biases is.
    """
    keys = SGD | {"trainable": trainable, "encoder": encoder, "num_rounds": 3, "mu": 0.5}
    keys |= {"evaluate_train_loss": True, "evaluate_clients": True}
    cached, computed = (
        finished(str(cache), **keys, cache_frozen_layers=cache) for cache in (True, False)
    )
    expected, found = model_of(cached), model_of(computed)
    start = initial_model(make_config(**keys))
    for key, w in expected.items():
        np.testing.assert_allclose(found[key], w, rtol=1e-6, atol=1e-6)
    assert max(np.abs(w - start[key]).max() for key, w in expected.items()) > 1e-2
    for line, other in zip(read_rounds(cached), read_rounds(computed), strict=True):
        for key in ("test_loss", "train_loss", "client_train_loss", "divergence"):
            assert other[key] == pytest.approx(line[key], rel=1e-4), key
        assert other["client_test_accuracy"] == line["client_test_accuracy"]


def test_mu_of_zero_is_fedavg_bit_for_bit(finished):
    fedavg = read_outcome(finished("fedavg", **HEAD, algorithm="fedavg", mu=0.0))
    assert read_outcome(finished("mu_zero", **HEAD, algorithm="fedprox", mu=0.0)) == fedavg


@pytest.mark.parametrize(
    "keys",
    [{"proximal_term": "decoupled"}, {"proximal_term": "in_loss", "optimizer": "sgd"}],
    ids=["adamw", "sgd"],
)
def test_mu_keeps_clients_together(finished, keys):
    keys = HEAD | keys | {"num_rounds": 1, "num_epochs": 4}
    free, kept = (read_rounds(finished(str(mu), **keys, mu=mu))[0] for mu in (0.0, 10.0))
    assert kept["divergence"] < 0.6 * free["divergence"]


@pytest.mark.parametrize(
    "keys",
    [
        {"algorithm": "scaffold", **SGD, "clients_per_round": 2},
        {"trainable": "lora", "lora_aggregation": "exact"},
        {"trainable": "lora", "lora_aggregation": "freeze_a", "algorithm": "scaffold", **SGD},
        {"server_optimizer": "fedadam", "server_learning_rate": 0.01, "partition": "style_skew"},
        {"encoder": tiny_encoders.ROBERTA, "weighting": "uniform"},
        {"precision": "bfloat16", "evaluate_train_loss": True},
    ],
    ids=str,
)
def test_every_way_to_train_is_a_function_of_the_seed(finished, make_config, keys):
    first = finished("first", **keys)
    assert read_outcome(finished("again", **keys)) == read_outcome(first)
    start, found = initial_model(make_config(**keys)), model_of(first)
    assert found.keys() == start.keys()
    assert all(np.isfinite(w).all() for w in found.values())
    still = {key for key, w in found.items() if np.array_equal(w, start[key])}
    # A bias of all keys changes no attention: its gradient is 0.
    assert all(key.endswith(("k_lin.bias", "key.bias")) for key in still)


def test_scaffold_differs_from_fedavg_once_there_are_control_variates(finished):
    fedavg, scaffold = (
        read_rounds(finished(name, algorithm=name, **SGD)) for name in ("fedavg", "scaffold")
    )
    assert scaffold[0]["test_loss"] == fedavg[0]["test_loss"]
    assert scaffold[1]["test_loss"] != fedavg[1]["test_loss"]
    assert scaffold[0]["bytes_up"] > 1.9 * fedavg[0]["bytes_up"]


@pytest.fixture
def drawn(finished, make_config, monkeypatch):
    """Returns what a run draws: the partition, the initial model, cohorts and batch orders."""

    def drawn(**keys):
        orders = []

        def record(model, x, y, work, rng, correct):
            orders.append(rng.integers(2**63))
            return LocalTraining(1, 1.0)

        monkeypatch.setattr(client_app, "train_locally", record)
        keys |= {"clients_per_round": 2, "num_rounds": 4}
        rounds = read_rounds(finished(str(keys), **keys))
        return {
            "partition": load_dataset(make_config(**keys)).partition.indices.tolist(),
            "model": initial_model(make_config(**keys))["classifier.weight"].tolist(),
            "sampling": ([line["clients"] for line in rounds], orders),
        }

    return drawn


@pytest.mark.parametrize("changed", ["partition", "model", "sampling"])
def test_each_seed_changes_what_it_is_for_and_nothing_else(drawn, changed):
    first, other = drawn(seed=1), drawn(seed=1, **{f"{changed}_seed": 2})
    assert {draws for draws in first if other[draws] != first[draws]} == {changed}


def test_a_seed_of_its_own_is_the_runs_seed_by_another_name(drawn):
    own = {"partition_seed": 5, "model_seed": 5, "sampling_seed": 5}
    assert drawn(seed=9, **own) == drawn(seed=5)


@pytest.mark.parametrize("key", ["partition_seed", "model_seed", "sampling_seed"])
def test_each_seed_makes_another_run(finished, key):
    first = read_outcome(finished("first", **HEAD, num_rounds=1))
    assert read_outcome(finished("other", **HEAD, num_rounds=1, **{key: 3})).sha256 != first.sha256


def test_what_became_of_the_texts_is_told(finished, tmp_path, monkeypatch, capsys):
    tiny_encoders.write_split(
        tmp_path, "train", ["the war on the border", " "] * 8, [0, 1, 2, 3] * 4
    )
    tiny_encoders.write_split(tmp_path, "test", ["a cup", "a cup and a goal"] * 2, [0, 1, 2, 3])
    tiny_encoders.write_encoder(tmp_path / "weights" / DISTILBERT)
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    finished(**HEAD, num_rounds=1, max_length=6, partition="iid")
    said = capsys.readouterr().out
    assert said.startswith(
        "8 of 16 training texts were cut to max_length=6 tokens.\n"
        "8 of 16 training texts are empty.\n"
        "2 of 4 test texts were cut to max_length=6 tokens.\n"
        "partition=iid: total variation of the clients' labels to those of all 0."
    )


def test_test_texts_may_lack_a_class(finished, monkeypatch):
    """Its accuracy is not known, and so is not which class is the worst."""
    line = read_rounds(finished(**HEAD, num_test_texts=3, num_rounds=1))[0]
    classes = ("world", "sports", "business", "sci_tech")
    assert None in {line[f"{name}_accuracy"] for name in classes} != {None}
    assert 0 <= line["test_accuracy"] <= 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"encoder": "/nosuch"}, "encoder='/nosuch' is not allowed: it is no folder here, and "),
        ({"max_length": 65}, "max_length=65 is not allowed with encoder='tiny-distilbert': it "),
    ],
)
def test_encoders_are_refused_before_texts_are_read(
    make_config, run, monkeypatch, no_hub, keys, message
):
    def never(config):
        raise AssertionError("read")

    monkeypatch.setattr(server_app, "load_dataset", never)
    assert refusal(run, make_config(**keys)).startswith(message)


@pytest.mark.parametrize("cache", [True, False])
def test_an_encoder_that_cannot_be_split_is_refused_before_a_round(make_config, run, cache):
    config = make_config(encoder=tiny_encoders.SHALLOW, cache_frozen_layers=cache)
    assert refusal(run, config).startswith("trainable='last_2' is not allowed with encoder='two-")


def test_without_epochs_the_initial_model_is_evaluated(finished, make_config):
    folder = finished(**HEAD, num_epochs=0, num_rounds=1)
    start = initial_model(make_config(**HEAD))
    for key, w in model_of(folder).items():
        np.testing.assert_array_equal(w, start[key])
    (line,) = read_rounds(folder)
    assert line["divergence"] == 0
    assert line["test_loss"] > 1


def test_a_client_without_texts_does_no_harm(finished, make_config):
    keys = HEAD | {"dirichlet_alpha": 0.01, "min_partition_share": 0.0, "num_rounds": 1, "seed": 2}
    keys |= {"num_clients": 8, "clients_per_round": 8}
    assert 0 in load_dataset(make_config(**keys)).partition.sizes
    (line,) = read_rounds(finished(**keys))
    assert line["failed"] == {}
    assert line["client_train_loss"] > 0
