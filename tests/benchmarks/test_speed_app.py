import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from data_loader_loop import main as data_loader_loop
from fedprox.model import CNN
from prepare import prepare
from speed.arrays import Arrays, load_arrays
from speed.client_app import app as client_app
from speed.recorder import Recorder
from speed.server_app import app as server_app
from speed.training import batch_rng, data_loader_epochs, epoch_orders, initial_model, make_model
from speed.work import WORKS, Work, quick

from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.engine import run

LOGISTIC = next(work for work in WORKS if work.name == "logistic_e20")


@pytest.fixture(scope="module")
def arrays_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    small = [quick(work) for work in WORKS if work.name in ("logistic_e20", "nothing")]
    prepare(folder, small, tiny=True)
    return folder


def run_inline(arrays_folder, work, client, result):
    config = {
        "arrays": str(arrays_folder),
        "work": work,
        "client": client,
        "result": str(result),
        "min_seconds": 0.0,
    }
    size = load_arrays(str(arrays_folder), work).work
    run(
        server_app,
        client_app,
        config,
        num_clients=size.num_clients,
        clients_per_round=size.clients_per_round,
        engine="inline",
    )
    return json.loads(result.read_text()), np.load(result.with_suffix(".npy"))


def test_all_clients_and_the_plain_loop_do_the_same_work(arrays_folder, tmp_path, monkeypatch):
    ours, w_ours = run_inline(arrays_folder, "logistic_e20", "flowerbed", tmp_path / "a.json")
    usual, w_usual = run_inline(arrays_folder, "logistic_e20", "data_loader", tmp_path / "b.json")
    command = ["loop", "logistic_e20", str(arrays_folder), str(tmp_path / "c.json")]
    monkeypatch.setattr("sys.argv", [*command, "--min-seconds", "0"])
    data_loader_loop()
    loop, w_loop = json.loads((tmp_path / "c.json").read_text()), np.load(tmp_path / "c.npy")

    assert ours["clients"] == usual["clients"] == loop["clients"] > 0
    assert ours["accuracy"] == usual["accuracy"] == loop["accuracy"]
    for weights in (w_ours, w_usual):
        assert np.linalg.norm(weights - w_loop) < 1e-5 * np.linalg.norm(w_loop)
    initial = Arrays(arrays_folder, "logistic_e20").initial_weights().values()
    assert np.linalg.norm(w_loop - np.concatenate([w.ravel() for w in initial])) > 0.01


def test_a_client_that_does_nothing_leaves_the_model(arrays_folder, tmp_path):
    values, weights = run_inline(arrays_folder, "nothing", "nothing", tmp_path / "a.json")

    initial = Arrays(arrays_folder, "nothing").initial_weights().values()
    np.testing.assert_allclose(weights, np.concatenate([w.ravel() for w in initial]), rtol=1e-6)
    assert values["accuracy"] is None


def test_the_order_of_batches_is_that_of_train_locally():
    work = replace(LOGISTIC, num_epochs=3)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((23, 784), dtype=np.float32), rng.integers(0, 10, 23)
    models = [make_model(work), make_model(work)]
    models[1].load_state_dict(models[0].state_dict())

    train_locally(models[0], x, y, LocalWork(3, 10, 0.03, 1.0), batch_rng(1, 2))
    data_loader_epochs(models[1], x, y, work, batch_rng(1, 2))

    torch.testing.assert_close(models[0].weight, models[1].weight, rtol=1e-4, atol=1e-6)


def test_epoch_orders_differ_and_repeat():
    first, second = epoch_orders(np.random.default_rng(5), 20, 2)
    again, _ = epoch_orders(np.random.default_rng(5), 20, 2)

    assert sorted(first) == list(range(20))
    assert (first != second).any()
    assert (first == again).all()


def test_the_cnn_is_the_baselines():
    cnn = make_model(next(work for work in WORKS if work.name == "cnn"))
    baseline = CNN(10)
    baseline.load_state_dict(cnn.state_dict())
    x = torch.randn(2, 784)

    assert torch.equal(cnn(x), baseline(x))


def test_initial_models_are_the_prepared_weights(arrays_folder):
    arrays = Arrays(arrays_folder, "logistic_e20")
    model = initial_model(arrays)

    np.testing.assert_array_equal(model.weight.detach(), arrays.initial_weights()["weight"])


def test_a_run_warms_up_and_then_does_whole_passes():
    work = replace(LOGISTIC, num_rounds=3)
    recorder = Recorder(work, min_seconds=0.0)
    rounds, proofs = [], []
    recorder.begin()
    while not recorder.is_enough:
        rounds.append(work.cohort_round(recorder.done))
        recorder.round_finished()
        proofs.append(recorder.is_proof_due)

    assert rounds == [1, 1, 2, 3]
    assert proofs == [False, False, False, True]


def test_passes_repeat_until_they_took_long_enough(tmp_path):
    recorder = Recorder(replace(LOGISTIC, num_rounds=2), min_seconds=0.05)
    recorder.begin()
    while not recorder.is_enough:
        time.sleep(0.006)
        recorder.round_finished()
    recorder.write(tmp_path / "result.json", {"w": np.zeros(3)}, 0.5)
    values = json.loads((tmp_path / "result.json").read_text())

    assert sum(values["round_seconds"]) >= 0.05
    assert len(values["round_seconds"]) % 2 == 0
    assert values["clients"] == len(values["round_seconds"]) * LOGISTIC.clients_per_round
    start, end = values["window"]
    assert end - start == pytest.approx(sum(values["round_seconds"]))


def test_works_survive_json(arrays_folder):
    table = json.loads((arrays_folder / "works.json").read_text())

    assert Work(**table["logistic_e20"]) == quick(LOGISTIC)
