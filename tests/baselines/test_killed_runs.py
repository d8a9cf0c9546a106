"""A run that is killed, at random moments, ends as if nothing had happened.

A later baseline joins by its line in SHRUNK.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

# Of every baseline, by package: shrunk experiments, and how often each is to be killed.
SYNTHETIC = ("dataset=synthetic", "num_clients=6", "clients_per_round=4", "num_epochs=3")
IMAGES = (
    *("dataset=imagenette", "image_size=32", "num_stages=3", "num_clients=3"),
    *("clients_per_round=2", "num_epochs=1", "batch_size=16", "min_partition_size=16"),
)
TEXTS = (
    *("encoder=tiny-distilbert", "num_train_texts=0", "max_length=32", "num_clients=3"),
    *("clients_per_round=2", "num_epochs=1", "batch_size=16", "learning_rate=0.01"),
)
RESIDUALS = (
    *("width=2", "num_clients=3", "clients_per_round=2", "batch_size=16", "batches_per_epoch=1"),
    *("+compression=dgc", "quantiser=int8", "int8_rounding=stochastic", "density=0.05"),
)
SHRUNK = {
    "fedprox": {
        "fedprox": (8, (*SYNTHETIC, "num_rounds=100", "stragglers_fraction=0.5")),
        "fedavg": (4, (*SYNTHETIC, "num_rounds=60", "stragglers_fraction=0.5", "algorithm=fedavg")),
        "adaptive mu": (8, (*SYNTHETIC, "num_rounds=100", "adaptive_mu=true", "mu=0.2", "seed=1")),
        "every third round": (4, (*SYNTHETIC, "num_rounds=100", "checkpoint_every=3")),
        "on ray": (1, (*SYNTHETIC, "num_rounds=60", "engine=ray")),
    },
    "imagenet_resnet": {
        "head": (
            8,
            (
                *(*IMAGES, "weights=trunk.pth", "trainable=head", "num_rounds=60"),
                *("server_optimizer=fedadam", "mu_schedule=linear", "evaluate_clients=true"),
            ),
        ),
        "all layers": (
            5,
            (*IMAGES, "weights=none", "augmentation=crop_flip", "num_rounds=12", "num_clients=2"),
        ),
    },
    "distilbert_failures": {
        "scaffold": (8, (*TEXTS, "algorithm=scaffold", "optimizer=sgd", "num_rounds=40")),
        "lora": (5, (*TEXTS, "trainable=lora", "num_rounds=12", "evaluate_clients=true")),
    },
    "pruning_afo": {
        "residuals": (6, (*RESIDUALS, "num_rounds=20", "server_optimizer=fedadam")),
    },
}
# What writes their data, below a data folder; it takes seconds to import.
MADE = {
    "imagenet_resnet": "tiny_imagenette",
    "distilbert_failures": "tiny_encoders",
    "pruning_afo": "tiny_cifar10",
}
EXPERIMENTS = [
    pytest.param(
        package,
        kills,
        arguments,
        id=f"{package}, {name}",
        marks=[pytest.mark.slow] if kills > 4 or "engine=ray" in arguments else [],
    )
    for package, experiments in SHRUNK.items()
    for name, (kills, arguments) in experiments.items()
]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a command; returns its process id, and a function that waits for its exit code."""
    data = tmp_path_factory.mktemp("data")
    server = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "fork_server.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"FLOWERBED_DATA": str(data / "data"), "XDG_CACHE_HOME": str(data)},
    )

    def ask(**request):
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()

    @cache
    def warm_up(package):
        """Import and compile once what takes seconds."""
        if package in MADE:
            import_module(MADE[package]).write(data / "data")
        for _, arguments in SHRUNK[package].values():
            if "engine=ray" not in arguments:  # What forks must not have a Ray.
                ask(package=package, arguments=[*arguments, "engine=inline"], folder=None)

    def start(package, arguments, folder, **limits):
        warm_up(package)
        log = str(folder / "log")
        ask(package=package, arguments=arguments, folder=str(folder), log=log, **limits)
        return int(server.stdout.readline()), lambda: int(server.stdout.readline())

    yield start
    server.stdin.close()
    assert server.wait(timeout=60) == 0


def lines(run):
    file = run / "rounds.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def rounds(run):
    """Return what rounds.jsonl says, but for what a clock said."""
    records = [json.loads(line) for line in lines(run)]
    assert all(record.pop("seconds") >= 0 for record in records)
    return records


def summary(run):
    return json.loads((run / "summary.json").read_text())


def kill_within(pid, run, rng):
    """Kill a process a few rounds from now, at any moment of a round; or soon, rounds or not."""
    wanted = len(lines(run)) + rng.randrange(1, 4)
    deadline = time.monotonic() + (rng.uniform(0, 1) if rng.random() < 0.25 else 60)
    while len(lines(run)) < wanted and time.monotonic() < deadline:
        if not Path(f"/proc/{pid}/exe").exists():  # It has ended before.
            return
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, 0.02))
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("package", "kills", "arguments"), EXPERIMENTS)
def test_killed_at_random_it_ends_as_if_undisturbed(start, tmp_path, package, kills, arguments):
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    _, wait = start(
        package, [*arguments, "engine=inline", "output_dir=run"], tmp_path / "undisturbed"
    )
    assert wait() == 0

    rng, codes = random.Random(str(arguments)), []
    engine = "engine=ray" if "engine=ray" in arguments else "engine=inline"
    run = tmp_path / "killed" / "run"
    while not codes or codes[-1] != 0:
        # What is not there cannot go on: killed that early, it is begun again.
        how = ["resume=run"] if (run / "config.yaml").exists() else [*arguments, "output_dir=run"]
        pid, wait = start(package, [*how, engine], tmp_path / "killed")
        if len(codes) < kills:
            kill_within(pid, run, rng)
        codes.append(wait())
        assert codes[-1] in (0, -signal.SIGKILL), (tmp_path / "killed" / "log").read_text()
    assert len(codes) == kills + 1
    assert set(codes[:-1]) == {-signal.SIGKILL}

    expected = tmp_path / "undisturbed" / "run"
    assert rounds(run) == rounds(expected)
    assert summary(run)["model_sha256"] == summary(expected)["model_sha256"]
    assert summary(run)["bytes_up"] == summary(expected)["bytes_up"]
    assert sorted(file.name for file in run.iterdir()) == sorted(
        file.name for file in expected.iterdir()
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_order_and_it_goes_on(start, tmp_path, number, code):
    arguments = [*SYNTHETIC, "num_rounds=100", "checkpoint_every=1000", "engine=inline"]
    run = tmp_path / "run"
    pid, wait = start("fedprox", [*arguments, "output_dir=run"], tmp_path)
    while len(lines(run)) < 5:
        time.sleep(0.001)
    os.kill(pid, number)
    assert wait() == code
    log = (tmp_path / "log").read_text()
    assert log.endswith(f"Incomplete; to go on: resume={run}\nInterrupted.\n")
    # No round is lost, though no checkpoint was due.
    finished = len(lines(run))
    assert finished < 100
    for how in ("resume=run", *arguments[-1:]), (*arguments, "output_dir=new"):
        _, wait = start("fedprox", how, tmp_path)
        assert wait() == 0
    assert f"Going on after round {finished}.\n" in (tmp_path / "log").read_text()
    assert rounds(run) == rounds(tmp_path / "new")
    assert summary(run)["model_sha256"] == summary(tmp_path / "new")["model_sha256"]


@pytest.mark.parametrize("max_file_bytes", [500, 2_600, 8_192])
def test_a_full_disk_ends_a_run_in_order_and_it_goes_on(start, tmp_path, max_file_bytes):
    """In the configuration, in a checkpoint, in rounds.jsonl."""
    arguments = [*SYNTHETIC, "num_rounds=60", "stragglers_fraction=0.5", "engine=inline"]
    run = tmp_path / "run"
    limits = {"max_file_bytes": max_file_bytes}
    codes = []
    for how, limit in (("output_dir=run", limits), ("output_dir=run", {}), ("output_dir=new", {})):
        (tmp_path / "log").write_text("")
        _, wait = start("fedprox", [*arguments, how], tmp_path, **limit)
        codes.append(wait())
        if limit:
            log = (tmp_path / "log").read_text()
            assert "could not be written: File too large.\n" in log
            assert "Traceback" not in log
    assert codes == [1, 0, 0]
    assert rounds(run) == rounds(tmp_path / "new")
    assert summary(run)["model_sha256"] == summary(tmp_path / "new")["model_sha256"]


def test_it_is_killed_twenty_times():
    assert sum(kills for experiments in SHRUNK.values() for kills, _ in experiments.values()) >= 20
