import json
import math
import signal
import threading
import time

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
from safetensors.numpy import load_file

from common.engine.flower import become_server
from common.engine.inline import InlineGrid
from common.errors import ClientFailedError, UserInputError
from common.experiment.config import ExperimentConfig
from common.experiment.federate import Evaluation, federate
from common.protocol import TrainInstruction, train_reply
from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx

NUM_CLIENTS, K = 8, 4


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


def make_app(fails_in_round=0, asked=None):
    """Clients that add 1 to every weight."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        instruction = TrainInstruction.of(message)
        if asked is not None:
            asked.append(instruction)
        if instruction.server_round == fails_in_round:
            raise ValueError("the disk is full")
        w = message.content["arrays"]["w"].numpy() + np.float32(1)
        return train_reply(message, ArrayRecord({"w": Array(w)}), 5)

    return app


@pytest.fixture
def run(experiment_values, tmp_path):
    """Federates into tmp_path, with losses from a list; returns the models that it evaluated."""

    def run(losses, strategy=None, app=None, num_rounds=3, on_evaluation=None):
        keys = {"num_clients": NUM_CLIENTS, "num_rounds": num_rounds, "output_dir": str(tmp_path)}
        grid = InlineGrid(app or make_app(), NUM_CLIENTS, {})
        strategy = strategy or FedAvg(grid.nodes, K, 3, 0.5, seed=0)
        # The initial model is evaluated only for those who ask for its loss.
        first = 0 if strategy.follows_train_loss else 1
        models, waiting = [], list(losses[first:])

        def evaluate(arrays):
            models.append(arrays["w"].numpy().tolist())
            number = len(models) - 1 + first
            (on_evaluation or {}).get(number, lambda: None)()
            loss = waiting.pop(0)
            test_loss = 1.0 if loss is None else 2 * loss
            return Evaluation((number + 1) / 100, test_loss, train_loss=loss)

        w = ArrayRecord({"w": Array(np.zeros(2, np.float32))})
        config = ExperimentConfig.parse(experiment_values | keys)
        federate(grid, strategy, config, w, evaluate)
        return models

    return run


def read_rounds(folder):
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def read_summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_every_model_is_evaluated_once(run):
    assert run([4, 3, 2, 1]) == [[1, 1], [2, 2], [3, 3]]


def test_the_initial_model_is_evaluated_for_who_follows_the_loss(run):
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    strategy = FedProx(nodes, K, 3, 0.5, 0, mu=0.0, adaptive_mu=True)
    assert run([4, 3, 2, 1], strategy) == [[0, 0], [1, 1], [2, 2], [3, 3]]


def test_ctrl_c_while_the_server_waits_for_an_evaluation_loses_no_round(run, tmp_path):
    def press():
        threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,)).start()
        time.sleep(1)

    # Whoever started the tests in the background had it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run([4, 3, 2, 1], on_evaluation={2: press})
    finally:
        signal.signal(signal.SIGINT, before)
    assert [line["round"] for line in read_rounds(tmp_path)] == [1, 2, 3]


def test_an_evaluation_that_fails_hides_no_other_error(run):
    def fail():
        raise FloatingPointError("overflow")

    with pytest.raises(ClientFailedError, match="the disk is full"):
        run([4, 3, 2, 1], app=make_app(fails_in_round=2), on_evaluation={1: fail})


def test_a_round_has_the_figures_of_the_model_that_it_made(run, tmp_path):
    run([4, 3, 2, 1])
    rounds = read_rounds(tmp_path)
    assert [line["round"] for line in rounds] == [1, 2, 3]
    assert [line["train_loss"] for line in rounds] == [3, 2, 1]
    assert [line["test_loss"] for line in rounds] == [6, 4, 2]
    assert [line["test_accuracy"] for line in rounds] == [0.02, 0.03, 0.04]
    for line in rounds:
        assert set(line["stragglers"]) < set(line["clients"]) <= set(range(NUM_CLIENTS))
        assert (len(line["clients"]), len(line["stragglers"])) == (K, K / 2)
        assert line["bytes_down"] > 2 * 2 * 4
        assert line["bytes_up"] > 2 * 2 * 4
        assert line["seconds"] >= 0


def test_the_summary_closes_with_the_last_round_and_the_totals(run, tmp_path, capsys):
    run([4, 3, 2, 1])
    rounds, summary = read_rounds(tmp_path), read_summary(tmp_path)
    for key in ("test_accuracy", "test_loss", "train_loss"):
        assert summary[key] == rounds[-1][key]
    for key in ("bytes_up", "bytes_down"):
        assert summary[key] == sum(line[key] for line in rounds)
    assert summary["seconds"] >= sum(line["seconds"] for line in rounds) - 1e-3
    assert summary["rounds"] == 3
    assert summary["complete"] is True
    assert load_file(tmp_path / "model.safetensors")["w"].tolist() == [3, 3]
    assert f"Results are in {tmp_path}\n" in capsys.readouterr().out


def test_mu_is_the_one_that_the_clients_of_the_round_had(run, tmp_path):
    """The initial loss is the first that the heuristic compares with."""
    asked = []
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    strategy = FedProx(nodes, K, 3, 0.5, 0, mu=0.0, adaptive_mu=True)
    losses = [1, 2, 3, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4]
    run(losses, strategy, make_app(asked=asked), num_rounds=8)
    expected = [0.0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.1]
    assert [line["mu"] for line in read_rounds(tmp_path)] == expected
    assert [i.mu for i in asked] == [mu for mu in expected for _ in range(K)]


def test_a_training_loss_that_is_not_asked_for_is_null_and_moves_no_mu(run, tmp_path):
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    strategy = FedProx(nodes, K, 3, 0.5, 0, mu=0.5, adaptive_mu=True)
    run([None] * 4, strategy)
    rounds = read_rounds(tmp_path)
    assert [(line["train_loss"], line["mu"]) for line in rounds] == [(None, 0.5)] * 3
    assert read_summary(tmp_path)["train_loss"] is None


def test_losses_that_are_not_finite_are_null(run, tmp_path):
    run([4, math.nan, math.inf, math.nan])
    assert [line["train_loss"] for line in read_rounds(tmp_path)] == [None, None, None]
    assert read_summary(tmp_path)["test_loss"] is None


def test_a_client_that_raises_leaves_what_was_done_but_no_summary(run, tmp_path):
    with pytest.raises(ClientFailedError, match=r"Client \d failed in round 3: ValueError: the di"):
        run([4, 3, 2, 1], app=make_app(fails_in_round=3))
    assert [line["round"] for line in read_rounds(tmp_path)] == [1, 2]
    assert {file.name for file in tmp_path.iterdir()} == {
        "config.yaml",
        "environment.json",
        "rounds.jsonl",
    }


def test_a_round_is_on_disk_when_the_next_one_is_over(run, tmp_path):
    """It is evaluated while the next one trains."""
    lines = []

    class Watching(FedAvg):
        def configure_train(self, *arguments):
            lines.append(len(read_rounds(tmp_path)))
            return super().configure_train(*arguments)

    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    run([4, 3, 2, 1], Watching(nodes, K, 3, 0.5, seed=0))
    assert lines == [0, 0, 1]
    assert len(read_rounds(tmp_path)) == 3


def test_a_model_is_evaluated_while_the_next_one_is_trained(run):
    """Client and evaluation wait for each other: one after the other, neither would end."""
    meet = threading.Barrier(2, timeout=60)
    app = ClientApp()

    @app.train()
    def train(message, context):
        if TrainInstruction.of(message).server_round == 2:
            meet.wait()
        return train_reply(message, message.content["arrays"], 5)

    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    strategy = FedAvg(nodes, 1, 3, 0.0, seed=0)
    run([4, 3, 2, 1], strategy, app, on_evaluation={1: meet.wait})


def test_an_evaluation_that_fails_ends_the_run(run, tmp_path):
    def fail():
        raise FloatingPointError("overflow")

    with pytest.raises(FloatingPointError, match="overflow"):
        run([4, 3, 2, 1], on_evaluation={2: fail})
    assert [line["round"] for line in read_rounds(tmp_path)] == [1]
    assert not (tmp_path / "summary.json").exists()


def test_the_engines_share_is_what_the_clients_did_not_take(run, tmp_path):
    app = ClientApp()

    @app.train()
    def train(message, context):
        time.sleep(0.02)
        return train_reply(message, message.content["arrays"], 5)

    run([4, 3, 2, 1], app=app, on_evaluation={1: lambda: time.sleep(1)})
    assert 0 < read_summary(tmp_path)["engine_share"] < 0.5


def test_a_folder_that_holds_a_run_is_refused_before_any_work(run, tmp_path):
    run([4, 3, 2, 1])
    before = (tmp_path / "rounds.jsonl").read_text()
    asked = []
    with pytest.raises(UserInputError, match="output_dir="):
        run([4, 3, 2, 1], app=make_app(asked=asked))
    assert asked == []
    assert (tmp_path / "rounds.jsonl").read_text() == before


def test_the_server_has_one_thread(run, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run([4, 3, 2, 1])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
