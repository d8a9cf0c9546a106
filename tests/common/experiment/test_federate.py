import json
import math
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
from safetensors.numpy import load_file

from common.engine.flower import become_server
from common.engine.inline import InlineGrid
from common.errors import ClientFailedError, StorageError, UserInputError
from common.experiment import checkpoint
from common.experiment.checkpoint import CheckpointFolder
from common.experiment.config import ExperimentConfig
from common.experiment.federate import federate
from common.experiment.record_file import from_bytes
from common.experiment.recorder import Evaluation
from common.experiment.run_directory import RunDirectory
from common.experiment.watch import Failure
from common.protocol import TrainInstruction, train_reply
from common.strategy.aggregate import Aggregation, WeightedMean
from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from common.strategy.mu_schedule import MuSchedule
from common.strategy.server_optimizer import FedAdam

NUM_CLIENTS, K = 8, 4
NUM_EXAMPLES = [5] * NUM_CLIENTS
SHARED = {"num_epochs": 3, "seed": 0}
HALF_STRAGGLE = {"clients_per_round": K, "stragglers_fraction": 0.5} | SHARED


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
        metrics = {"test-accuracy": 1 / instruction.server_round}
        return train_reply(message, ArrayRecord({"w": Array(w)}), 5, metrics)

    return app


@pytest.fixture
def run(experiment_values, tmp_path):
    """Federates into tmp_path, with losses from a list; returns the models that it evaluated."""

    def run(losses, strategy=None, app=None, num_rounds=3, on_evaluation=None):
        keys = {"num_clients": NUM_CLIENTS, "num_rounds": num_rounds, "output_dir": str(tmp_path)}
        grid = InlineGrid(app or make_app(), NUM_CLIENTS, {})
        strategy = strategy or FedAvg(grid.nodes, NUM_EXAMPLES, **HALF_STRAGGLE)
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


def make_fedprox(nodes, **options):
    return FedProx(nodes, NUM_EXAMPLES, batch_size=10, adaptive_mu=True, **HALF_STRAGGLE, **options)


def read_rounds(folder):
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def read_summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_every_model_is_evaluated_once(run):
    assert run([4, 3, 2, 1]) == [[1, 1], [2, 2], [3, 3]]


def test_the_initial_model_is_evaluated_for_who_follows_the_loss(run):
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    strategy = make_fedprox(nodes, mu=0.0)
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
        assert line["failed"] == {}


def test_the_summary_closes_with_the_last_round_and_the_totals(run, tmp_path, capsys):
    run([4, 3, 2, 1])
    rounds, summary = read_rounds(tmp_path), read_summary(tmp_path)
    for key in ("test_accuracy", "test_loss", "train_loss"):
        assert summary[key] == rounds[-1][key]
    for key in ("bytes_up", "bytes_down"):
        assert summary[key] == sum(line[key] for line in rounds)
    assert summary["seconds"] >= sum(line["seconds"] for line in rounds) - 1e-3
    assert summary["rounds"] == 3
    assert summary["client_failures"] == 0
    assert summary["complete"] is True
    assert load_file(tmp_path / "model.safetensors")["w"].tolist() == [3, 3]
    assert f"Results are in {tmp_path}\n" in capsys.readouterr().out


EVALUATED = ["test_accuracy", "test_loss", "train_loss"]
MEASURED = [
    "drift",
    "drift_relative",
    "update_cosine",
    "update_norm",
    "client_test_accuracy",
    "worst_client_test_accuracy",
]


def keys_of(folder):
    """Return the keys of a line, and those of the summary that depend on what was asked for."""
    (line, *_), summary = read_rounds(folder), list(read_summary(folder))
    return list(line), summary[: summary.index("rounds")]


def test_without_measures_the_files_have_no_key_for_them(run, tmp_path):
    run([4, 3, 2, 1])
    traffic = ["clients", "stragglers", "failed", "bytes_up", "bytes_down"]
    traffic += ["client_bytes_up", "client_bytes_down"]
    assert keys_of(tmp_path) == (["round", *EVALUATED, "mu", *traffic, "seconds"], EVALUATED)


def test_measures_of_the_client_models_follow_the_evaluation(run, tmp_path):
    """Clients that add 1 to both weights, and report an accuracy that falls by the round."""
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    options = {"measure_drift": True, "client_metrics": ["test-accuracy"]}
    run([4, 3, 2, 1], FedAvg(nodes, NUM_EXAMPLES, **HALF_STRAGGLE, **options))
    line, summary = keys_of(tmp_path)
    assert line[: line.index("mu")] == ["round", *EVALUATED, *MEASURED]
    assert summary == [*EVALUATED, *MEASURED]
    rounds = read_rounds(tmp_path)
    root = math.sqrt(2)
    assert [line["drift"] for line in rounds] == pytest.approx([root] * 3)
    assert [line["drift_relative"] for line in rounds] == [
        None,
        pytest.approx(1),
        pytest.approx(0.5),
    ]
    assert [line["update_cosine"] for line in rounds] == pytest.approx([1] * 3)
    assert [line["update_norm"] for line in rounds] == pytest.approx([root] * 3)
    for key in ("client_test_accuracy", "worst_client_test_accuracy"):
        assert [line[key] for line in rounds] == [1, 1 / 2, 1 / 3]
    assert {key: read_summary(tmp_path)[key] for key in MEASURED} == {
        key: rounds[-1][key] for key in MEASURED
    }


def test_mu_is_the_one_that_the_clients_of_the_round_had(run, tmp_path):
    """The initial loss is the first that the heuristic compares with."""
    asked = []
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    strategy = make_fedprox(nodes, mu=0.0)
    losses = [1, 2, 3, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4]
    run(losses, strategy, make_app(asked=asked), num_rounds=8)
    expected = [0.0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.1]
    assert [line["mu"] for line in read_rounds(tmp_path)] == expected
    assert [i.mu for i in asked] == [mu for mu in expected for _ in range(K)]


def test_a_training_loss_that_is_not_asked_for_is_null_and_moves_no_mu(run, tmp_path):
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    strategy = make_fedprox(nodes, mu=0.5)
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
        "checkpoint",
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
    run([4, 3, 2, 1], Watching(nodes, NUM_EXAMPLES, **HALF_STRAGGLE))
    # Who writes is a thread of its own, which may be earlier.
    assert all(found >= least for found, least in zip(lines, [0, 0, 1], strict=True))
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
    strategy = FedAvg(nodes, NUM_EXAMPLES, clients_per_round=1, stragglers_fraction=0.0, **SHARED)
    run([4, 3, 2, 1], strategy, app, on_evaluation={1: meet.wait})


def test_an_evaluation_that_fails_ends_the_run(run, tmp_path):
    def fail():
        raise FloatingPointError("overflow")

    with pytest.raises(FloatingPointError, match="overflow"):
        run([4, 3, 2, 1], on_evaluation={2: fail})
    assert [line["round"] for line in read_rounds(tmp_path)] == [1]
    assert not (tmp_path / "summary.json").exists()


def test_the_engines_share_is_what_the_clients_did_not_take(run, tmp_path):
    w = ArrayRecord({"w": Array(np.zeros(2, np.float32))})
    WeightedMean(w).add(w, 1)  # Compiled before it is timed.
    app = ClientApp()

    @app.train()
    def train(message, context):
        time.sleep(0.02)
        return train_reply(message, message.content["arrays"], 5)

    run([4, 3, 2, 1], app=app, on_evaluation={1: lambda: time.sleep(1)})
    assert 0 < read_summary(tmp_path)["engine_share"] < 0.5


def test_the_server_has_one_thread(run, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run([4, 3, 2, 1])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


FAILURE = "ValueError: the disk is full"


def keeping_app(fails=lambda round_, client: False):
    """Clients whose model depends on what they keep, on mu and on chance."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        instruction = TrainInstruction.of(message)
        client = context.node_config["partition-id"]
        context.state.setdefault("kept", MetricRecord({"times": 0, "sum": 0.0}))
        kept = context.state["kept"]
        kept["times"] += 1
        if fails(instruction.server_round, client):
            raise ValueError("the disk is full")
        rng = np.random.default_rng([instruction.server_round, client, kept["times"]])
        kept["sum"] += rng.standard_normal() / 10
        w = message.content["arrays"]["w"].numpy()
        step = rng.standard_normal(len(w)) * (1 + instruction.mu) + kept["sum"]
        w_k = ArrayRecord({"w": Array(w + step.astype(np.float32))})
        return train_reply(message, w_k, NUM_EXAMPLES[client])

    return app


def make_fedavg(config, **options):
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    policy = config.on_client_failure
    return FedAvg(nodes, NUM_EXAMPLES, on_client_failure=policy, **HALF_STRAGGLE, **options)


def make_fedadam(config):
    adam = FedAdam(
        {"w": np.zeros(2, np.float32)},
        server_learning_rate=0.1,
        beta_1=0.9,
        beta_2=0.99,
        tau=0.001,
        bias_correction=True,
    )
    aggregation = Aggregation(server_optimizer=adam)
    return make_fedavg(config, aggregation=aggregation, measure_drift=True)


def make_adaptive(config):
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    return make_fedprox(nodes, mu=0.3, on_client_failure=config.on_client_failure)


@pytest.fixture
def go(experiment_values):
    """Federates into a folder, six rounds, as often as it is called."""

    def go(folder, make=make_fedavg, app=None, on_evaluation=None, size=2, watcher=None, **keys):
        keys = {"num_clients": NUM_CLIENTS, "num_rounds": 6, "output_dir": str(folder)} | keys
        config = ExperimentConfig.parse(experiment_values | keys)
        grid = InlineGrid(app or keeping_app(), NUM_CLIENTS, {})

        def evaluate(arrays):
            w = arrays["w"].numpy()
            (on_evaluation or (lambda w: None))(w)
            return Evaluation(float(w[0]), float(w[1]), train_loss=float(np.abs(w).sum()))

        w = ArrayRecord({"w": Array(np.zeros(size, np.float32))})
        federate(grid, make(config), config, w, evaluate, watcher=watcher)

    return go


def outcome(folder):
    """What a run leaves behind, but for times."""
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml",
        "environment.json",
        "model.safetensors",
        "rounds.jsonl",
        "summary.json",
    }
    rounds = [line | {"seconds": None} for line in read_rounds(folder)]
    summary = read_summary(folder) | {"seconds": None, "engine_share": None}
    return rounds, summary, (folder / "model.safetensors").read_bytes()


def fails_in(round_):
    return keeping_app(lambda server_round, client: server_round == round_)


@pytest.mark.parametrize("make", [make_fedavg, make_adaptive])
@pytest.mark.parametrize("checkpoint_every", [1, 3])
def test_a_run_that_was_stopped_in_any_round_comes_to_the_same_end(
    go, tmp_path, make, checkpoint_every, capsys
):
    go(tmp_path / "whole", make)
    expected = outcome(tmp_path / "whole")
    for stopped_in in range(1, 7):
        folder = tmp_path / str(stopped_in)
        with pytest.raises(ClientFailedError):
            go(folder, make, fails_in(stopped_in), checkpoint_every=checkpoint_every)
        assert [line["round"] for line in read_rounds(folder)] == list(range(1, stopped_in))
        assert f"Incomplete; to go on: resume={folder}\n" in capsys.readouterr().out
        go(folder, make, checkpoint_every=checkpoint_every)
        assert outcome(folder) == expected
        last = stopped_in - 1  # An orderly stop leaves a checkpoint, due or not.
        told = f"Going on after round {last}.\n" in capsys.readouterr().out
        assert told == (last > 0)
        environment = json.loads((folder / "environment.json").read_text())
        assert [entry["after_round"] for entry in environment["resumed"]] == [last]


def test_the_mu_of_the_runs_above_moves(go, tmp_path):
    go(tmp_path / "run", make_adaptive)
    assert len({line["mu"] for line in read_rounds(tmp_path / "run")}) > 2


def test_the_mu_of_a_schedule_is_the_same_after_a_stop(go, tmp_path):
    def make(config):
        nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
        return FedProx(
            nodes,
            NUM_EXAMPLES,
            mu=MuSchedule("linear", 0.0, 1.0, config.num_rounds),
            batch_size=10,
            **HALF_STRAGGLE,
        )

    with pytest.raises(ClientFailedError):
        go(tmp_path, make, fails_in(4))
    go(tmp_path, make)
    assert [line["mu"] for line in read_rounds(tmp_path)] == [0, 0.2, 0.4, 0.6, 0.8, 1]


@pytest.mark.parametrize("make", [make_fedavg, make_adaptive, make_fedadam])
def test_a_run_may_be_stopped_again_and_again(go, tmp_path, make):
    go(tmp_path / "whole", make)
    folder = tmp_path / "run"
    for stopped_in in (2, 2, 3, 5, 6):
        with pytest.raises(ClientFailedError):
            go(folder, make, fails_in(stopped_in))
    go(folder, make)
    assert outcome(folder) == outcome(tmp_path / "whole")


@pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError])
@pytest.mark.parametrize("make", [make_fedavg, make_adaptive])
@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_a_run_that_was_stopped_by_its_evaluation_comes_to_the_same_end(
    go, tmp_path, make, error, number
):
    go(tmp_path / "whole", make)
    expected = outcome(tmp_path / "whole")
    waiting = [None] * (number - 1) + [error]

    def stop(w):
        if waiting and (raised := waiting.pop(0)):
            raise raised

    with pytest.raises(error):
        go(tmp_path / "run", make, on_evaluation=stop)
    go(tmp_path / "run", make)
    assert outcome(tmp_path / "run") == expected


def test_a_run_that_was_stopped_before_its_model_was_written_only_writes_it(
    go, tmp_path, monkeypatch
):
    go(tmp_path / "whole")
    expected = outcome(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "complete", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(tmp_path / "run")
    go(tmp_path / "run", app=keeping_app(lambda round_, client: True))  # Nobody is asked.
    assert outcome(tmp_path / "run") == expected


def test_times_are_summed_over_the_parts_of_a_run(go, tmp_path):
    with pytest.raises(ClientFailedError):
        go(tmp_path, on_evaluation=lambda w: time.sleep(0.1), app=fails_in(6))
    go(tmp_path)
    summary = read_summary(tmp_path)
    assert summary["seconds"] > 0.25
    assert 0 < summary["engine_share"] < 1


def test_the_engines_share_is_unknown_when_an_engine_did_not_tell_its_part(go, tmp_path):
    """Flower's own engine leaves such a checkpoint."""
    with pytest.raises(ClientFailedError):
        go(tmp_path, app=fails_in(3))
    file = tmp_path / "checkpoint" / "server.safetensors"
    folder = CheckpointFolder(file.parent, from_bytes(file.read_bytes())[1]["run"])
    checkpoint = folder.load()
    counters = {key: checkpoint.counters[key] for key in ("seconds", "worker_seconds")}
    folder.save(replace(checkpoint, counters=counters))
    with pytest.raises(ClientFailedError):
        go(tmp_path, app=fails_in(5))
    go(tmp_path)
    assert read_summary(tmp_path)["engine_share"] is None


def test_a_complete_run_is_left_as_it_is(go, tmp_path, capsys):
    go(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    capsys.readouterr()
    go(tmp_path, app=keeping_app(lambda round_, client: True))  # Nobody is asked.
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert capsys.readouterr().out == f"Results are in {tmp_path}\n"


def test_a_folder_that_holds_another_run_is_refused_before_any_work(go, tmp_path):
    go(tmp_path)
    before = (tmp_path / "rounds.jsonl").read_text()
    with pytest.raises(UserInputError, match=r"^seed=8 is not allowed: it must be 7, "):
        go(tmp_path, app=keeping_app(lambda round_, client: True), seed=8)
    assert (tmp_path / "rounds.jsonl").read_text() == before


def test_a_checkpoint_of_another_model_is_refused(go, tmp_path):
    with pytest.raises(ClientFailedError):
        go(tmp_path, app=fails_in(3))
    with pytest.raises(UserInputError) as caught:
        go(tmp_path, size=3)
    assert str(caught.value) == (
        "The checkpoint of round 2 is not allowed: it must be of this run's model and strategy "
        "(its tensors are others)."
    )
    go(tmp_path)  # It is as good as before.


@pytest.mark.parametrize("make", [make_adaptive, make_fedadam])
def test_a_checkpoint_of_another_strategy_is_refused(go, tmp_path, make):
    with pytest.raises(ClientFailedError):
        go(tmp_path, app=fails_in(3))
    with pytest.raises(UserInputError, match="checkpoint of round 2 is not allowed"):
        go(tmp_path, make)


def fails_sometimes(round_, client):
    return round_ in (2, 4) and client < 4


def test_clients_that_were_left_out_are_recorded(go, tmp_path):
    go(tmp_path, make_adaptive, keeping_app(fails_sometimes), on_client_failure="leave_out")
    rounds = read_rounds(tmp_path)
    for line in rounds:
        failed = [c for c in line["clients"] if fails_sometimes(line["round"], c)]
        assert line["failed"] == {str(client): FAILURE for client in failed}
    num_failed = sum(len(line["failed"]) for line in rounds)
    assert read_summary(tmp_path)["client_failures"] == num_failed > 0


def test_clients_that_were_left_out_are_counted_over_the_parts_of_a_run(go, tmp_path):
    def fails_and_stops(round_, client):
        return fails_sometimes(round_, client) or round_ == 5

    policy = {"on_client_failure": "leave_out"}
    go(tmp_path / "whole", make_adaptive, keeping_app(fails_sometimes), **policy)
    with pytest.raises(ClientFailedError, match="All clients of round 5 failed"):
        go(tmp_path / "run", make_adaptive, keeping_app(fails_and_stops), **policy)
    go(tmp_path / "run", make_adaptive, keeping_app(fails_sometimes), **policy)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    "damage",
    [b'{"round": 1}\n{"round": 2}\n', b"", b"[]\n[]\n"],
    ids=["lacks keys", "empty", "no objects"],
)
def test_lines_that_are_damaged_are_refused(go, tmp_path, damage):
    with pytest.raises(ClientFailedError):
        go(tmp_path, app=fails_in(3))
    (tmp_path / "rounds.jsonl").write_bytes(damage)
    with pytest.raises(UserInputError, match=r"rounds\.jsonl"):
        go(tmp_path)


def test_a_full_disk_is_told_and_the_run_goes_on_later(go, tmp_path, monkeypatch):
    go(tmp_path / "whole")

    def fail(path, content):
        raise StorageError(f"{str(path)!r} could not be written: No space left on device.")

    with pytest.raises(ClientFailedError):
        go(tmp_path / "run", app=fails_in(4))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", fail)
        with pytest.raises(StorageError, match="No space left on device"):
            go(tmp_path / "run")
    go(tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


class Watching:
    """Finds "high" where a number of the lines so far exceeds a limit, and "odd" in odd rounds.

    The sum over rounds makes it matter which of them it was shown.
    """

    def __init__(self, limit=math.inf, stops=False):
        self.limit, self.stops, self.seen = limit, stops, []

    def observe(self, record):
        self.seen.append(record)
        total = sum(line["round"] + (line["test_loss"] or 0) * 1e-9 for line in self.seen)
        odd = (
            [Failure("odd", "The round is odd.")] if record["round"] % 2 and not self.stops else []
        )
        return odd + ([Failure("high", "It is too much.")] if total > self.limit else [])


def test_failures_are_in_the_lines_told_once_and_counted(go, tmp_path, capsys):
    watcher = Watching(limit=5)
    go(tmp_path, watcher=watcher)
    modes = [line["failure_modes"] for line in read_rounds(tmp_path)]
    assert modes == [["odd"], [], ["odd", "high"], ["high"], ["odd", "high"], ["high"]]
    summary = read_summary(tmp_path)
    assert summary["failure_modes"] == {
        "odd": {"first_round": 1, "rounds": 3},
        "high": {"first_round": 3, "rounds": 4},
    }
    assert (summary["rounds"], "stopped" in summary) == (6, False)
    told = [line for line in capsys.readouterr().out.splitlines() if ": " in line]
    assert told == ["round 1: odd: The round is odd.", "round 3: high: It is too much."]
    written = [
        {key: value for key, value in line.items() if key != "failure_modes"}
        for line in read_rounds(tmp_path)
    ]
    assert watcher.seen == written


def test_without_failures_the_lines_and_the_summary_say_so(go, tmp_path):
    go(tmp_path, watcher=Watching(stops=True))
    assert [line["failure_modes"] for line in read_rounds(tmp_path)] == [[]] * 6
    assert read_summary(tmp_path)["failure_modes"] == {}


def test_who_only_looks_changes_no_result(go, tmp_path):
    go(tmp_path / "watched", watcher=Watching(limit=5))
    go(tmp_path / "alone")
    assert outcome(tmp_path / "watched")[2] == outcome(tmp_path / "alone")[2]


def test_a_failure_ends_the_run_after_its_round(go, tmp_path, capsys):
    trained, evaluated = set(), []

    def note(round_, client):
        trained.add(round_)

    go(
        tmp_path / "run",
        app=keeping_app(note),
        on_evaluation=evaluated.append,
        watcher=Watching(5, stops=True),
    )
    assert (trained, len(evaluated)) == ({1, 2, 3}, 3)
    rounds, summary, model = outcome(tmp_path / "run")
    go(tmp_path / "whole", watcher=Watching())
    assert [line | {"failure_modes": 0} for line in rounds] == [
        line | {"failure_modes": 0} for line in outcome(tmp_path / "whole")[0][:3]
    ]
    go(tmp_path / "three", num_rounds=3)
    assert model == outcome(tmp_path / "three")[2]
    assert (summary["rounds"], summary["complete"]) == (3, True)
    assert summary["stopped"] == "It is too much."
    assert summary["failure_modes"] == {"high": {"first_round": 3, "rounds": 1}}
    assert summary["test_loss"] == rounds[-1]["test_loss"]
    out = capsys.readouterr().out
    assert "Stopped after round 3 of 6: It is too much.\n" in out
    assert out.count("too much") == 1


def test_a_run_that_ended_early_is_complete(go, tmp_path):
    go(tmp_path, watcher=Watching(5, stops=True))
    before = outcome(tmp_path)
    go(tmp_path, app=fails_in(4), watcher=Watching(5, stops=True))
    assert outcome(tmp_path) == before


def test_a_failure_in_the_last_round_ends_nothing_early(go, tmp_path, capsys):
    go(tmp_path, num_rounds=3, watcher=Watching(5, stops=True))
    summary = read_summary(tmp_path)
    assert (summary["rounds"], "stopped" in summary) == (3, False)
    out = capsys.readouterr().out
    assert "Stopped" not in out
    assert "round 3: high: It is too much.\n" in out


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("checkpoint_every", [1, 3])
def test_a_watched_run_that_was_killed_comes_to_the_same_end(
    go, tmp_path, monkeypatch, stops, checkpoint_every
):
    """After a line was written, and before its checkpoint was."""
    go(tmp_path / "whole", watcher=Watching(5, stops))
    expected = outcome(tmp_path / "whole")
    append = RunDirectory.append_round

    for killed_in in (1, 3) if stops else (2, 5):
        folder = tmp_path / str(killed_in)
        with monkeypatch.context() as patch:

            def append_and_die(directory, record, killed_in=killed_in):
                append(directory, record)
                if record["round"] == killed_in:
                    raise KeyboardInterrupt

            patch.setattr(RunDirectory, "append_round", append_and_die)
            with pytest.raises(KeyboardInterrupt):
                go(folder, watcher=Watching(5, stops), checkpoint_every=checkpoint_every)
        go(folder, watcher=Watching(5, stops), checkpoint_every=checkpoint_every)
        assert outcome(folder) == expected


def test_a_run_that_was_killed_when_it_had_ended_early_trains_no_more(
    go, tmp_path, monkeypatch, capsys
):
    go(tmp_path / "whole", watcher=Watching(5, stops=True))
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "complete", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(tmp_path / "run", watcher=Watching(5, stops=True))
    capsys.readouterr()
    nobody = keeping_app(lambda round_, client: True)
    go(tmp_path / "run", app=nobody, watcher=Watching(5, stops=True))
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert "Stopped after round 3 of 6: It is too much.\n" in capsys.readouterr().out


def test_a_number_that_is_not_finite_is_none_to_a_watcher(experiment_values, tmp_path):
    """As it will be after the run was killed, when it is read from the file."""
    config = ExperimentConfig.parse(
        experiment_values
        | {"num_clients": NUM_CLIENTS, "num_rounds": 1, "output_dir": str(tmp_path)}
    )
    watcher = Watching()
    federate(
        InlineGrid(make_app(), NUM_CLIENTS, {}),
        make_fedavg(config),
        config,
        ArrayRecord({"w": Array(np.zeros(2, np.float32))}),
        lambda arrays: Evaluation(0.5, math.nan, train_loss=math.inf),
        watcher=watcher,
    )
    assert (watcher.seen[0]["test_loss"], watcher.seen[0]["train_loss"]) == (None, None)
