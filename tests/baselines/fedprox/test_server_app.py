import hashlib

import numpy as np
import pytest
import torch
import yaml
from fedprox.client_app import app as client_app
from fedprox.dataset import load_dataset
from fedprox.dissimilarity import dissimilarity
from flwr.clientapp import ClientApp
from run_folders import read_environment, read_outcome, read_rounds, read_summary
from safetensors.numpy import load_file
from torch import nn

from common.data import synthetic
from common.errors import ClientFailedError

CNN = {"model": "cnn", "dataset": "mnist", "partition": "iid", "num_rounds": 2}


def loss_and_accuracy(folder, x, y):
    """Evaluate logistic regression from its file, in double precision."""
    w = load_file(folder / "model.safetensors")
    z = x.astype(np.float64) @ w["weight"].T.astype(np.float64) + w["bias"]
    log_sum = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) + z.max(axis=1)
    return (log_sum - z[np.arange(len(y)), y]).mean(), (z.argmax(axis=1) == y).mean()


def test_dissimilarity_is_measured_where_it_is_asked_for(finished, make_config):
    changes = {"dataset": "synthetic_iid", "evaluate_dissimilarity": True, "num_rounds": 2}
    folder = finished(**changes)
    w = load_file(folder / "model.safetensors")
    model = nn.Linear(60, 10)
    model.load_state_dict({key: torch.tensor(value) for key, value in w.items()})
    data = load_dataset(make_config(**changes))
    clients = [(torch.tensor(x), torch.tensor(y)) for x, y in data.clients]
    assert len(clients) == 6
    found = [line["dissimilarity"] for line in read_rounds(folder)]
    assert found[0] != found[1] == dissimilarity(model, clients) > 0
    assert read_summary(folder)["dissimilarity"] == found[1]
    assert {line["dissimilarity"] for line in read_rounds(finished("without"))} == {None}


def test_a_run_leaves_all_files_with_their_keys(finished):
    folder = finished(stragglers_fraction=0.75, mu=0.5)
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml",
        "environment.json",
        "rounds.jsonl",
        "model.safetensors",
        "summary.json",
    }
    rounds = read_rounds(folder)
    assert [line["round"] for line in rounds] == [1, 2, 3]
    for line in rounds:
        assert list(line) == [
            "round",
            "test_accuracy",
            "test_loss",
            "train_loss",
            "dissimilarity",
            "mu",
            "clients",
            "stragglers",
            "failed",
            "bytes_up",
            "bytes_down",
            "client_bytes_up",
            "client_bytes_down",
            "seconds",
        ]
        assert line["mu"] == 0.5
        assert len(line["clients"]) == 4
        assert len(line["stragglers"]) == 3
    summary = read_summary(folder)
    model = (folder / "model.safetensors").read_bytes()
    assert summary["model_sha256"] == hashlib.sha256(model).hexdigest()
    assert summary["complete"] is True
    assert summary["rounds"] == 3
    assert summary["test_accuracy"] == rounds[-1]["test_accuracy"]
    assert summary["test_loss"] == rounds[-1]["test_loss"]
    assert summary["bytes_up"] == sum(line["bytes_up"] for line in rounds)
    assert summary["bytes_down"] == sum(line["bytes_down"] for line in rounds)
    assert summary["seconds"] > 0
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["mu"] == 0.5
    assert config["client_resources"] == {"num_cpus": 1.0, "num_gpus": 0.0}
    assert config["output_dir"] == str(folder)
    environment = read_environment(folder)
    assert environment["engine"] == "inline"
    assert environment.keys() >= {"commit", "packages", "platform", "cpus", "gpus"}


def test_the_figures_are_those_of_the_model_on_all_examples(finished):
    folder = finished(seed=2)
    data = synthetic(1.0, 1.0, 6, 2)
    loss, accuracy = loss_and_accuracy(folder, data.x_test, data.y_test)
    train_loss, _ = loss_and_accuracy(folder, data.x_train, data.y_train)
    last = read_rounds(folder)[-1]
    assert last["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert last["test_accuracy"] == pytest.approx(accuracy)
    assert last["train_loss"] == pytest.approx(train_loss, rel=1e-5)
    # The clients differ in size, so that a mean over clients is something else.
    clients = [data.natural_partition.client(client) for client in range(6)]
    losses = [loss_and_accuracy(folder, data.x_train[k], data.y_train[k])[0] for k in clients]
    assert abs(np.mean(losses) - train_loss) > 0.01


def test_it_learns(finished):
    rounds = read_rounds(finished(num_rounds=10, num_epochs=10, mu=0.0, stragglers_fraction=0.0))
    assert rounds[-1]["train_loss"] < 0.8 * rounds[0]["train_loss"]
    assert rounds[-1]["test_accuracy"] > 0.6


@pytest.mark.parametrize("keys", [{"num_rounds": 5}, CNN], ids=["logistic", "cnn"])
def test_without_stragglers_mu_zero_is_fedavg_bit_for_bit(finished, tiny_mnist, keys):
    keys = {"stragglers_fraction": 0.0, **keys}
    fedavg = read_outcome(finished("fedavg", algorithm="fedavg", mu=0.0, **keys))
    mu_zero = read_outcome(finished("mu_zero", algorithm="fedprox", mu=0.0, **keys))
    mu_one = read_outcome(finished("mu_one", algorithm="fedprox", mu=1.0, **keys))
    assert mu_zero == fedavg
    assert mu_one.sha256 != fedavg.sha256


def test_arms_with_one_seed_meet_the_same_clients_and_stragglers(finished):
    keys = {"stragglers_fraction": 0.5, "num_rounds": 6}
    arms = [
        read_rounds(finished("fedavg", algorithm="fedavg", **keys)),
        read_rounds(finished("mu_zero", mu=0.0, **keys)),
        read_rounds(finished("mu_one", mu=1.0, **keys)),
    ]
    met = [[(line["clients"], line["stragglers"]) for line in arm] for arm in arms]
    assert met[0] == met[1] == met[2]
    assert all(len(stragglers) == 2 for _, stragglers in met[0])
    # FedAvg moves half of the bytes: it hears of those only who are in time.
    assert [2 * line["bytes_up"] for line in arms[0]] == [line["bytes_up"] for line in arms[1]]
    assert [2 * line["bytes_down"] for line in arms[0]] == [line["bytes_down"] for line in arms[1]]


def test_a_run_is_a_function_of_its_seed(finished):
    first = read_outcome(finished("first", seed=1))
    assert read_outcome(finished("again", seed=1)) == first
    assert read_outcome(finished("other", seed=2)).sha256 != first.sha256


def test_adaptive_mu_moves_with_the_training_loss(finished):
    keys = {"learning_rate": 0.3, "num_rounds": 8, "mu": 0.0, "seed": 1}
    rounds = read_rounds(finished(adaptive_mu=True, **keys))
    losses, mus = ([line[key] for line in rounds] for key in ("train_loss", "mu"))
    assert set(mus) > {0.0}
    for i in range(1, len(rounds) - 1):
        if losses[i] > losses[i - 1]:
            assert mus[i + 1] == pytest.approx(mus[i] + 0.1)


def test_the_training_loss_can_be_left_out(finished):
    full = read_outcome(finished("full"))
    without = read_outcome(finished("without", evaluate_train_loss=False))
    assert without.sha256 == full.sha256
    assert [line.pop("train_loss") for line in without.rounds] == [None] * 3
    assert all(line.pop("train_loss") > 0 for line in full.rounds)
    assert without.rounds == full.rounds


def test_a_client_that_raises_fails_the_run_with_its_own_error(make_config, run, tmp_path):
    app = ClientApp()

    @app.train()
    def train(message, context):
        if context.node_config["partition-id"] == 3:
            raise OSError("the disk of client three is gone")
        return client_app(message, context)

    config = make_config(output_dir=str(tmp_path), clients_per_round=6)
    with pytest.raises(ClientFailedError) as caught:
        run(config, app)
    assert str(caught.value).startswith(
        "Client 3 failed in round 1: OSError: the disk of client three is gone"
    )
    assert not (tmp_path / "summary.json").exists()
    assert not (tmp_path / "model.safetensors").exists()
    assert read_rounds(tmp_path) == []
