import hashlib
import math

import numpy as np
import pytest
import tiny_imagenette
import torch
from flwr.app import Array, ArrayRecord
from flwr.clientapp import ClientApp
from imagenet_resnet import server_app
from imagenet_resnet.client_app import app as imagenet_client
from imagenet_resnet.dataset import load_dataset
from imagenet_resnet.model import make_model
from run_folders import read_environment, read_outcome, read_rounds, read_summary
from safetensors.numpy import load_file

from common.errors import ClientFailedError, UserInputError
from common.experiment.evaluation import evaluate_top_k
from common.protocol import TrainInstruction, train_reply

CPU = torch.device("cpu")
# All layers as far as layer3: with BatchNorm, and a third of the bytes that layer4 has.
ALL = {"weights": tiny_imagenette.TRUNK, "num_stages": 3, "num_rounds": 1}


def model_of(folder):
    return load_file(folder / "model.safetensors")


def initial_model(config):
    state = make_model(config, 10).tail.state_dict()
    return {key: w.numpy().copy() for key, w in state.items()}


def is_buffer(key):
    return "running_" in key or key.endswith("num_batches_tracked")


@pytest.fixture
def client_that_adds(make_config):
    """Makes clients that train nothing: client k sends w_global + change(k, key)."""
    sizes = load_dataset(make_config()).partition.sizes.tolist()
    assert len({*sizes}) == 3

    def client_that_adds(change, seen=None):
        app = ClientApp()

        @app.train()
        def train(message, context):
            client = context.node_config["partition-id"]
            w = {key: array.numpy() for key, array in message.content["arrays"].items()}
            if seen is not None:
                seen[TrainInstruction.of(message).server_round] = w
            w_k = {key: np.add(w, change(client, key)).astype(w.dtype) for key, w in w.items()}
            arrays = ArrayRecord({key: Array(np.asarray(w)) for key, w in w_k.items()})
            return train_reply(message, arrays, sizes[client])

        return app

    return client_that_adds


def test_a_run_leaves_what_it_measured(finished, head_only):
    folder = finished(**head_only, evaluate_clients=True)
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml", "environment.json", "rounds.jsonl", "model.safetensors", "summary.json"
    }  # fmt: skip
    rounds, summary = read_rounds(folder), read_summary(folder)
    assert [line["round"] for line in rounds] == [1, 2]
    for line in rounds:
        assert line.keys() >= {
            "test_accuracy", "test_top5_accuracy", "test_loss", "train_loss", "mu", "clients",
            "drift", "drift_relative", "update_cosine", "update_norm", "client_test_accuracy",
            "worst_client_test_accuracy", "bytes_up", "bytes_down",
            "client_bytes_up", "client_bytes_down", "seconds",
        }  # fmt: skip
        assert line["clients"] == [0, 1, 2]
        assert line["stragglers"] == []
        assert line["train_loss"] is None
        assert line["mu"] == 0.01
        # Three heads of 256 x 10 + 10 float32 each way, and their envelopes.
        assert 3 * 10_280 < line["bytes_down"] < line["bytes_up"] + 100 < 40_000
        assert 0 < line["update_norm"] < line["drift"]
        assert -0.5 < line["update_cosine"] < 1
    for key in ("test_top5_accuracy", "drift", "worst_client_test_accuracy"):
        assert summary[key] == rounds[-1][key]


def test_the_figures_are_those_of_the_model_on_all_examples(finished, make_config, head_only):
    keys = {**head_only, "seed": 2, "evaluate_train_loss": True}
    folder = finished(**keys)
    tail = make_model(make_config(**keys), 10).tail
    tail.load_state_dict({key: torch.tensor(w) for key, w in model_of(folder).items()})
    data = load_dataset(make_config(**keys))
    test = evaluate_top_k(tail, *data.test_set(CPU), k=5)
    last = read_rounds(folder)[-1]
    assert last["test_accuracy"] == test.accuracy
    assert last["test_top5_accuracy"] == test.top_k_accuracy > test.accuracy
    assert last["test_loss"] == pytest.approx(test.loss)
    assert last["train_loss"] == pytest.approx(evaluate_top_k(tail, *data.train_set(CPU), k=1).loss)


def test_it_learns(finished, head_only):
    rounds = read_rounds(finished(**head_only, num_rounds=6, num_epochs=5, partition="iid"))
    assert rounds[-1]["test_loss"] < 0.5 * rounds[0]["test_loss"]
    assert rounds[-1]["test_accuracy"] > 0.8


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_mu_of_zero_is_fedavg_bit_for_bit(finished, trainable):
    keys = ALL | {"trainable": trainable}
    fedavg = read_outcome(finished("fedavg", algorithm="fedavg", mu=0.0, **keys))
    mu_zero = read_outcome(finished("mu_zero", algorithm="fedprox", mu=0.0, **keys))
    assert mu_zero == fedavg


def test_mu_makes_a_difference_and_keeps_clients_near(finished, head_only):
    fedavg, mu_ten = (
        finished(str(mu), **head_only, mu=mu, num_epochs=3, num_rounds=1) for mu in (0.0, 10.0)
    )
    assert read_rounds(mu_ten)[0]["drift"] < 0.8 * read_rounds(fedavg)[0]["drift"]


def test_a_run_is_a_function_of_its_seed(finished, head_only):
    first = read_outcome(finished("first", **head_only, seed=1))
    assert read_outcome(finished("again", **head_only, seed=1)) == first
    assert read_outcome(finished("other", **head_only, seed=2)).sha256 != first.sha256


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_parameters_and_batch_norm_statistics_are_averaged(
    finished, make_config, client_that_adds, weighting
):
    """Client k adds k + 1 to every number: the mean is by hand."""
    keys = ALL | {"weighting": weighting}
    found = model_of(finished(clients=client_that_adds(lambda k, key: k + 1), **keys))
    config = make_config(**keys)
    sizes = load_dataset(config).partition.sizes
    added = {"uniform": 2.0, "examples": sizes @ [1, 2, 3] / 80}[weighting]
    for key, w in initial_model(config).items():
        expected = np.rint(w + added) if w.dtype == np.int64 else w + added
        np.testing.assert_allclose(found[key], expected, rtol=1e-5, atol=1e-6, err_msg=key)


# Of FedAdam: m = (1 - 0.9) 1, v = 0.99 tau^2 + 0.01 1, and a step of m / (sqrt(v) + tau).
FEDADAM = {"server_optimizer": "fedadam", "server_learning_rate": 0.5}
STEP = 0.5 * 0.1 / (math.sqrt(0.99 * 0.001**2 + 0.01) + 0.001)


def test_a_server_optimiser_touches_no_buffer(finished, make_config, client_that_adds):
    keys = ALL | FEDADAM
    found = model_of(finished(clients=client_that_adds(lambda k, key: 1), **keys))
    for key, w in initial_model(make_config(**keys)).items():
        expected = w + (1 if is_buffer(key) else STEP)
        np.testing.assert_allclose(found[key], expected, rtol=1e-5, atol=1e-6, err_msg=key)


def test_buffers_may_be_kept_in_every_round(finished, make_config, client_that_adds):
    """Clients begin each with the initial ones, whatever they made of them before."""
    keys, seen = ALL | FEDADAM | {"buffers": "keep", "num_rounds": 2}, {}
    adds = client_that_adds(lambda k, key: 1, seen)
    for found in (model_of(finished(clients=adds, **keys)), seen[1], seen[2]):
        start = initial_model(make_config(**keys))
        kept = {key for key, w in start.items() if np.array_equal(found[key], w)}
        assert kept == ({*start} if found is seen[1] else {key for key in start if is_buffer(key)})


def test_nan_in_a_buffer_of_a_reply_is_refused_and_the_client_named(finished, client_that_adds):
    bad = "layer3.0.bn1.running_var"
    app = client_that_adds(lambda k, key: np.nan if (k, key) == (1, bad) else 0)
    reason = f"its '{bad}' holds a number that is not finite"
    with pytest.raises(ClientFailedError, match=f"^Client 1 failed in round 1: {reason}$"):
        finished(clients=app, **ALL)


def test_frozen_batch_norm_stays_as_in_the_weights(finished, make_config):
    keys = ALL | {"norm": "frozen_batch", "weighting": "examples"}
    found = model_of(finished(**keys))
    start = initial_model(make_config(**keys))
    norm = {key for key in start if "bn" in key or "downsample.1" in key}
    assert len(norm) == 15 * 4
    assert {key for key, w in start.items() if np.array_equal(found[key], w)} == norm


def test_zero_shot_is_the_weights_as_they_came(finished, make_config, weights_file):
    keys = {
        "algorithm": "fedavg", "weights": weights_file, "head": "keep", "num_epochs": 0,
        "num_rounds": 1, "num_clients": 1, "clients_per_round": 1,
    }  # fmt: skip
    folder = finished(**keys)
    found, config = model_of(folder), make_config(**keys)
    for key, w in initial_model(config).items():
        np.testing.assert_array_equal(found[key], w, err_msg=key)
    (line,) = read_rounds(folder)
    test = evaluate_top_k(make_model(config, 10).tail, *load_dataset(config).test_set(CPU), k=5)
    assert line["test_accuracy"] == test.accuracy
    assert line["test_top5_accuracy"] == test.top_k_accuracy
    assert (line["drift"], line["update_norm"], line["update_cosine"]) == (0, 0, None)


def test_clients_that_never_meet_are_evaluated_one_by_one(finished, make_config, head_only):
    keys = {**head_only, "algorithm": "fedavg", "num_rounds": 1, "num_epochs": 4}
    models = []
    app = ClientApp()

    @app.train()
    def train(message, context):
        reply = imagenet_client(message, context)
        models.append({key: w.numpy() for key, w in reply.content["arrays"].items()})
        return reply

    (line,) = read_rounds(finished(clients=app, **keys, evaluate_clients=True))
    config, accuracies = make_config(**keys), []
    tail = make_model(config, 10).tail
    for w_k in models:
        tail.load_state_dict({key: torch.tensor(w) for key, w in w_k.items()})
        test_set = load_dataset(config).test_set(CPU)
        accuracies.append(evaluate_top_k(tail, *test_set, k=1).accuracy)
    assert len({*accuracies}) > 1
    assert line["client_test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert line["worst_client_test_accuracy"] == min(accuracies)


@pytest.mark.parametrize(
    ("keys", "mus"),
    [
        ({"mu": 0.4, "mu_schedule": "linear"}, [0.4, 0.3, 0.2, 0.1, 0.0]),
        (
            {"mu": 0.2, "mu_schedule": "cosine", "mu_final": 1.0},
            [0.6 - 0.4 * math.cos(math.pi * i / 4) for i in range(5)],
        ),
    ],
    ids=str,
)
def test_the_record_says_which_mu_a_round_had(finished, head_only, keys, mus):
    rounds = read_rounds(finished(**head_only, **keys, num_rounds=5))
    assert [line["mu"] for line in rounds] == pytest.approx(mus, abs=1e-12)


def test_adaptive_mu_moves_with_the_training_loss(finished, head_only):
    keys = {"mu": 0.0, "adaptive_mu": True, "evaluate_train_loss": True, "learning_rate": 0.5}
    rounds = read_rounds(finished(**head_only, **keys, num_rounds=8, dirichlet_alpha=0.1))
    losses, mus = ([line[key] for line in rounds] for key in ("train_loss", "mu"))
    assert mus[0] == 0
    assert {*mus} > {0.0}
    for i in range(1, len(rounds) - 1):
        if losses[i] > losses[i - 1]:
            assert mus[i + 1] == pytest.approx(mus[i] + 0.1)


def test_tensors_that_begin_afresh_are_told(finished, head_only, tmp_path, capsys):
    trunk = {key: w for key, w in tiny_imagenette.state().items() if "layer3.1" not in key}
    file = tmp_path / "w.pth"
    torch.save(trunk, file)
    finished(**ALL | {"weights": str(file), "num_epochs": 0})
    said = capsys.readouterr().out
    assert said.startswith(
        f"weights='{file}' lack 10 tensors of the trained layers, which begin afresh, "
        "'layer3.1.bn1.bias' the first.\n"
    )
    finished("without", **head_only)
    assert "begin afresh" not in capsys.readouterr().out


def test_weights_are_refused_before_images_are_decoded(make_config, run, monkeypatch):
    def never(config):
        raise AssertionError("decoded")

    monkeypatch.setattr(server_app, "load_dataset", never)
    with pytest.raises(UserInputError, match=r"weights='nosuch\.pth' is not allowed: "):
        run(make_config(weights="nosuch.pth"))


@pytest.mark.slow
def test_a_run_goes_on_with_the_weights_that_it_began_with(make_config, run, tmp_path):
    """A name may come to mean another file, and the frozen layers with it."""
    weights, folder = tmp_path / "weights.pth", tmp_path / "run"
    torch.save(dict(tiny_imagenette.state()), weights)
    config = make_config(**ALL | {"weights": str(weights), "num_rounds": 2}, output_dir=str(folder))
    failing = ClientApp()

    @failing.train()
    def train(message, context):
        if TrainInstruction.of(message).server_round == 2:
            raise RuntimeError("in round 2")
        return imagenet_client(message, context)

    with pytest.raises(ClientFailedError):
        run(config, failing)
    stored = read_environment(folder)["weights"]
    assert stored == hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    other = {key: w + 1 for key, w in tiny_imagenette.state().items()}
    torch.save(other, weights)
    with pytest.raises(UserInputError, match="it must be a checkpoint of this run"):
        run(config)
    torch.save(dict(tiny_imagenette.state()), weights)
    run(config)
    assert len(read_rounds(folder)) == 2
