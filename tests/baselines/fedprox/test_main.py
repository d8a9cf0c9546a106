"""The command `python -m fedprox.main`, mostly in this process: a start takes seconds."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from command_line import main_of
from fedprox.client_app import app as fedprox_client
from fedprox.config import FedProxConfig
from flwr.clientapp import ClientApp
from hydra_state import hydra_as_new
from run_folders import read_config, read_environment, read_outcome, read_rounds, read_summary
from safetensors.numpy import load_file

from common.experiment.cli import compose_config
from common.experiment.run_directory import RunDirectory
from common.protocol import TrainInstruction

TINY = (
    "dataset=synthetic",
    "num_clients=6",
    "clients_per_round=3",
    "num_rounds=3",
    "num_epochs=2",
    "engine=inline",
    "stragglers_fraction=0.5",
)
FILES = ["config.yaml", "environment.json", "model.safetensors", "rounds.jsonl", "summary.json"]


@pytest.fixture
def main(cwd, monkeypatch, capfd):
    """Runs the command in this process, perhaps with other clients."""
    with main_of("fedprox", FedProxConfig, monkeypatch, capfd) as main_with_own_clients:

        def main(*arguments, clients=fedprox_client):
            monkeypatch.setattr("fedprox.client_app.app", clients)
            return main_with_own_clients(*arguments)

        yield main


def command(*arguments, **environment):
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "fedprox.main", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_configuration_is_checked_without_what_takes_seconds_to_import():
    program = (
        "import sys, fedprox.config, common.experiment.cli; "
        "print(sorted({'torch', 'ray', 'flwr', 'numba'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


def test_a_run_leaves_a_complete_directory(cwd, main):
    ended = command(*TINY)
    assert (ended.returncode, ended.stderr) == (0, "")
    (folder,) = (cwd / "outputs").glob("*/*")
    assert sorted(file.name for file in folder.iterdir()) == FILES
    assert [file.name for file in cwd.iterdir()] == ["outputs"]
    lines = ended.stdout.splitlines()
    assert lines[-1] == f"Results are in {folder}"
    assert [line.partition("  ")[0] for line in lines[:-1]] == [
        "round 1/3",
        "round 2/3",
        "round 3/3",
    ]

    written = read_config(folder)
    assert written["output_dir"] == str(folder)
    assert written["mu"] == 1.0
    assert (written["num_clients"], written["engine"]) == (6, "inline")
    FedProxConfig.parse(written)

    records = read_rounds(folder)
    assert [record["round"] for record in records] == [1, 2, 3]
    for record in records:
        assert list(record) == [
            "round", "test_accuracy", "test_loss", "train_loss", "dissimilarity", "mu",
            "clients", "stragglers",
            "failed", "bytes_up", "bytes_down", "client_bytes_up", "client_bytes_down", "seconds",
        ]  # fmt: skip
        assert 0 <= record["test_accuracy"] <= 1
        assert record["test_loss"] > 0
        assert record["train_loss"] > 0
        assert record["mu"] == 1.0
        assert record["clients"] == sorted(set(record["clients"]))
        assert len(record["clients"]) == 3
        assert set(record["clients"]) <= set(range(6))
        assert record["failed"] == {}
        assert len(record["stragglers"]) == 1  # 3 - round(3 * 0.5)
        assert set(record["stragglers"]) < set(record["clients"])
        # Three models of 60 x 10 + 10 float32 each way, and their envelopes.
        assert 7_320 < record["bytes_up"] < 10_000
        assert 7_320 < record["bytes_down"] < 10_000
        assert record["seconds"] > 0

    closing = read_summary(folder)
    for key in ("test_accuracy", "test_loss", "train_loss"):
        assert closing[key] == records[-1][key]
    for key in ("bytes_up", "bytes_down"):
        assert closing[key] == sum(record[key] for record in records)
    assert closing["seconds"] >= sum(record["seconds"] for record in records) - 1e-5
    assert closing["rounds"] == 3
    assert closing["complete"] is True
    model = folder / "model.safetensors"
    assert closing["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    shapes = {name: array.shape for name, array in load_file(model).items()}
    assert shapes == {"weight": (10, 60), "bias": (10,)}

    # The same in this process.
    assert main(*TINY, "output_dir=here").code == 0
    assert read_summary(cwd / "here")["model_sha256"] == closing["model_sha256"]


def test_same_seed_same_run_another_seed_another(cwd, main):
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        assert main(*TINY, f"seed={seed}", f"output_dir={name}").code == 0
    first, again, other = (read_outcome(cwd / name) for name in ("first", "again", "other"))
    assert first == again
    assert first.sha256 != other.sha256
    assert first.rounds != other.rounds


def test_repeat_num_is_the_seed_after(cwd, main):
    assert main(*TINY, "seed=3", "+repeat_num=2", "output_dir=repeated").code == 0
    assert main(*TINY, "seed=5", "output_dir=seeded").code == 0
    assert read_config(cwd / "repeated")["seed"] == 5
    assert read_outcome(cwd / "repeated") == read_outcome(cwd / "seeded")


def test_config_name_fedavg_is_fedavg(cwd, main):
    assert main("--config-name", "fedavg", *TINY, "output_dir=named").code == 0
    named = read_config(cwd / "named")
    assert (named["algorithm"], named["mu"]) == ("fedavg", 0.0)
    assert main(*TINY, "algorithm=fedavg", "output_dir=spelled").code == 0
    assert read_outcome(cwd / "named") == read_outcome(cwd / "spelled")
    assert [record["mu"] for record in read_rounds(cwd / "named")] == [0.0] * 3


def test_mu_and_training_loss_are_as_configured(cwd, main):
    assert main(*TINY, "mu=0.25", "evaluate_train_loss=false", "output_dir=a").code == 0
    assert [(r["mu"], r["train_loss"]) for r in read_rounds(cwd / "a")] == [(0.25, None)] * 3
    assert read_summary(cwd / "a")["train_loss"] is None


def test_adaptive_mu_moves_by_a_tenth(cwd, main):
    """From mu = 1, up by 0.1 exactly after the rounds in which the training loss rose."""
    arguments = (*TINY, "adaptive_mu=true", "num_rounds=12", "seed=1", "output_dir=a")
    assert main(*arguments).code == 0
    records = read_rounds(cwd / "a")
    assert records[0]["mu"] == 1.0
    losses = [record["train_loss"] for record in records]
    for now, then, earlier in zip(records[2:], losses[1:], losses, strict=False):
        before = records[now["round"] - 2]["mu"]
        if then > earlier:
            assert now["mu"] == pytest.approx(before + 0.1)
        else:
            assert now["mu"] == pytest.approx(before) or now["mu"] == pytest.approx(before - 0.1)
    assert len({record["mu"] for record in records}) > 1


def test_experiment_and_method_are_deltas_over_the_defaults(monkeypatch, fedprox_defaults):
    overrides = ["+experiment=synthetic", "+method=fedavg"]
    with hydra_as_new(monkeypatch):
        composed = compose_config("fedprox", FedProxConfig, overrides)
    assert composed.model_dump() == fedprox_defaults | {
        "dataset": "synthetic",
        "num_clients": 30,
        "num_rounds": 200,
        "learning_rate": 0.01,
        "algorithm": "fedavg",
        "mu": 0.0,
    }


def test_sweep_numbers_its_runs_and_pairs_its_arms(cwd, main):
    """The command of the earlier baseline, shrunk."""
    ended = main(
        "--multirun", *TINY[:-1], "output_dir=sweep",
        "mu=0.0,2.0", "stragglers_fraction=0.0,0.5", "+repeat_num=range(2)",
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    assert [file.name for file in cwd.iterdir()] == ["sweep"]
    folders = [cwd / "sweep" / str(number) for number in range(8)]
    assert sorted(folder for folder in (cwd / "sweep").iterdir() if folder.is_dir()) == folders
    arms = {}
    for folder in folders:
        assert sorted(file.name for file in folder.iterdir()) == FILES
        settings = read_config(folder)
        assert settings["output_dir"] == str(folder)
        arm = settings["mu"], settings["stragglers_fraction"], settings["seed"]
        arms[arm] = [(record["clients"], record["stragglers"]) for record in read_rounds(folder)]
    assert list(arms) == [(mu, p, seed) for mu in (0.0, 2.0) for p in (0.0, 0.5) for seed in (0, 1)]
    for seed in (0, 1):
        clients = [[c for c, _ in met] for (_, _, s), met in arms.items() if s == seed]
        assert all(met == clients[0] for met in clients)
        for p in (0.0, 0.5):
            assert arms[0.0, p, seed] == arms[2.0, p, seed]
        assert all(stragglers == [] for _, stragglers in arms[0.0, 0.0, seed])
    assert arms[0.0, 0.0, 0] != arms[0.0, 0.0, 1]
    digests = {read_summary(folder)["model_sha256"] for folder in folders}
    assert len(digests) == 8


def test_sweep_is_in_multirun_by_default(cwd, main):
    assert main("--multirun", *TINY, "seed=4,5").code == 0
    (sweep,) = (cwd / "multirun").glob("*/*")
    assert [read_config(sweep / str(number))["seed"] for number in (0, 1)] == [4, 5]
    assert read_summary(sweep / "1")["complete"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mu=1.0,-1.0"], "mu=-1.0 is not allowed: it must be greater than or equal to 0."),
        (["seed=0,nought"], "seed='nought' is not allowed: it must be an integer."),
        (["seed=range(3)", "num_rounds=2,0"], "num_rounds=0 is not allowed"),
        (["num_rund=1,2"], "num_rund is not a key of this experiment: did you mean num_rounds?"),
        (["+method=fedprox_mu1,nosuch"], "nosuch"),
        (["mu=1.0,${nosuch}"], "nosuch"),
        (["client_resources.num_cpus=1.0,1e6"], "client_resources.num_cpus=1e+06 is not allowed"),
        (["+repeat_num=0,-1"], "repeat_num=-1 is not allowed: it must be a whole number from 0."),
        (["mu=0.0,1.0", "output_dir=FILE/below"], "output_dir="),
    ],
)
def test_sweep_with_one_bad_value_starts_nothing(cwd, main, tmp_path, arguments, message):
    (tmp_path / "file").touch()
    arguments = [argument.replace("FILE", str(tmp_path / "file")) for argument in arguments]
    ended = main("--multirun", *TINY, *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    assert ended.out == ""
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mu=-1"], "mu=-1 is not allowed: it must be greater than or equal to 0."),
        (["mu=one"], "mu='one' is not allowed: it must be a number."),
        (["mu="], "mu='' is not allowed: it must be a number."),
        (["mu=null"], "mu=None is not allowed: it must be a number."),
        (["mu=nan"], "mu=nan is not allowed: it must be a finite number."),
        (["mu=[1,2]"], "mu=[1, 2] is not allowed: it must be a number."),
        (["mu=${nosuch}"], "Interpolation key 'nosuch' not found full_key: mu object_type=dict"),
        (["~mu"], "mu is missing: it must be given."),
        (
            ["stragglers_fraction=1.5"],
            "stragglers_fraction=1.5 is not allowed: it must be less than or equal to 1.",
        ),
        (["num_rounds=1.0"], "num_rounds=1.0 is not allowed: it must be an integer."),
        (["num_rounds=true"], "num_rounds=True is not allowed: it must be an integer."),
        (["seed=-1"], "seed=-1 is not allowed: it must be greater than or equal to 0."),
        (["adaptive_mu=1"], "adaptive_mu=1 is not allowed: it must be a boolean."),
        (["engine=slurm"], "engine='slurm' is not allowed: it must be 'inline' or 'ray'."),
        (["dataset=mars"], "dataset='mars' is not allowed: it must be 'mnist', 'femnist', 'synt"),
        (["num_round=1"], "num_round is not a key of this experiment: did you mean num_rounds?"),
        (["+num_round=1"], "num_round is not a key of this experiment: did you mean num_rounds?"),
        (
            ["client_resources.num_gpu=1"],
            "client_resources.num_gpu is not a key of this experiment: did you mean "
            "client_resources.num_gpus?",
        ),
        (
            ["clients_per_round=7"],
            "clients_per_round=7 is not allowed: it must be at most num_clients, 6.",
        ),
        (
            ["algorithm=fedavg", "stragglers_fraction=1.0"],
            "stragglers_fraction=1.0 is not allowed: algorithm=fedavg drops stragglers, and must "
            "be left at least 1 of clients_per_round=3.",
        ),
        (
            ["model=cnn"],
            "model='cnn' is not allowed with dataset='synthetic': it must be logistic, for the "
            "CNN takes images.",
        ),
        (
            ["partition=dirichlet_over_labels", "min_partition_size=1000000"],
            "partition='dirichlet_over_labels' is not possible: "
            "min_partition_size=1000000 is not allowed: it must be at most ",
        ),
        (
            ["client_resources.num_gpus=0.25"],
            "client_resources.num_gpus=0.25 is not allowed: it must be at most 0, the number of "
            "GPUs here.",
        ),
        (
            ["server_device=cuda"],
            "server_device='cuda' is not allowed: it must be cpu or one of the 0 GPUs here.",
        ),
        (["output_dir=FILE"], "output_dir='FILE' is not allowed: it must be a folder that can be"),
        (["output_dir=FILE/a"], "output_dir='FILE/a' is not allowed: it must be a folder that "),
        ([f"output_dir={'a' * 300}"], f"output_dir='{'a' * 300}' is not allowed: it must be a "),
        (["+method=nosuch"], "In 'config': Could not find 'method/nosuch' Available options in "),
        (["--config-name", "nosuch"], "Cannot find primary config 'nosuch'."),
        (["seed=range(5)"], "Sweep parameters 'seed=range(5)' requires --multirun"),
        (["mu"], "Error parsing override 'mu'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_code_2(cwd, main, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (tmp_path / "file").touch()
    arguments = [argument.replace("FILE", str(tmp_path / "file")) for argument in arguments]
    ended = main(*TINY, *arguments)
    assert ended.code == 2
    assert ended.err.startswith(message.replace("FILE", str(tmp_path / "file")))
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    assert ended.out == ""
    assert list(cwd.iterdir()) == []


def test_a_folder_that_holds_another_run_is_refused(cwd, main):
    assert main(*TINY, "output_dir=a").code == 0
    before = (cwd / "a" / "summary.json").read_bytes()
    ended = main(*TINY, "output_dir=a", "seed=1")
    assert ended.code == 2
    assert ended.err == (
        f"seed=1 is not allowed: it must be 0, as in the run that '{cwd / 'a'}' holds, or "
        "output_dir another folder.\n"
    )
    assert (cwd / "a" / "summary.json").read_bytes() == before


def test_the_same_command_again_finds_its_run_complete(cwd, main):
    assert main(*TINY, "output_dir=a").code == 0
    before = {file: file.read_bytes() for file in (cwd / "a").iterdir()}
    for again in ((*TINY, "output_dir=a"), ("resume=a",)):
        ended = main(*again)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == f"Complete already: results are in {cwd / 'a'}\n"
    assert {file: file.read_bytes() for file in (cwd / "a").iterdir()} == before


@pytest.mark.parametrize("again", [(*TINY, "output_dir=a"), ("resume=a",), ("resume=./a",)])
def test_a_run_that_failed_goes_on_to_the_undisturbed_end(cwd, main, again):
    assert main(*TINY, "output_dir=undisturbed").code == 0
    failing = client_that(ValueError("wilted"), in_round=3)
    ended = main(*TINY, "output_dir=a", clients=failing)
    assert ended.code == 1
    assert ended.out.endswith(f"Incomplete; to go on: resume={cwd / 'a'}\n")
    assert not (cwd / "a" / "summary.json").exists()
    ended = main(*again)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Going on after round 2.\nround 3/3 ")
    assert sorted(file.name for file in (cwd / "a").iterdir()) == FILES
    assert read_outcome(cwd / "a") == read_outcome(cwd / "undisturbed")
    environment = read_environment(cwd / "a")
    assert [again["after_round"] for again in environment["resumed"]] == [2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resume=nosuch"], "resume='CWD/nosuch' is not allowed: it must be the folder of a run, "),
        (["resume=sweep"], "resume='CWD/sweep' is not allowed: it must be the folder of a run, "),
        (["resume="], "resume='CWD' is not allowed: it must be the folder of a run, "),
        (["resume=a", "mu=0.5"], "mu=0.5 is not allowed: it must be 1.0, as in the run "),
        (["resume=a", "resume=b"], "resume=a is not allowed with resume=b: it must name the one "),
        (["resume=a", "output_dir=b"], "resume=a is not allowed with output_dir=b: it must name "),
        (["resume=a", "--multirun"], "resume=a is not allowed with --multirun: it must name the "),
        (["resume=foreign"], "'CWD/foreign/config.yaml' is not allowed: it must be the configur"),
        (["--config-dir=/tmp"], "--config-dir=/tmp is not allowed: configuration files must be "),
        (["+experiment=../../x"], "+experiment=../../x is not allowed: configuration files must "),
    ],
)
def test_what_cannot_go_on_is_refused(cwd, main, arguments, message):
    assert main(*TINY, "output_dir=a").code == 0
    assert main("--multirun", *TINY, "seed=0,1", "output_dir=sweep").code == 0
    evil = {"hydra": {"callbacks": {"evil": {"_target_": "os.abort"}}}}
    (cwd / "foreign").mkdir()
    (cwd / "foreign" / "config.yaml").write_text(yaml.dump(read_config(cwd / "a") | evil))
    ended = main(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(message.replace("CWD", str(cwd)))
    assert ended.err.count("\n") == 1


def test_a_run_may_go_on_on_another_engine_but_not_to_other_results(cwd, main):
    failing = client_that(ValueError("wilted"), in_round=3)
    assert main(*TINY, "output_dir=a", clients=failing).code == 1
    ended = main("resume=a", "num_rounds=4")
    assert ended.code == 2
    assert ended.err.startswith("num_rounds=4 is not allowed: it must be 3, as in the run")
    assert main("resume=a", "client_resources.num_cpus=0.5").code == 0
    environment = read_environment(cwd / "a")
    assert environment["resumed"][0]["changed"] == {"client_resources.num_cpus": 0.5}


def test_a_folder_that_is_being_written_is_refused(cwd, main, fedprox_defaults):
    assert main(*TINY, "output_dir=a", clients=client_that(ValueError("wilted"))).code == 1
    written = FedProxConfig.parse(read_config(cwd / "a"))
    with RunDirectory(written, "inline"):
        ended = main(*TINY, "output_dir=a")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"output_dir='{cwd / 'a'}' is not allowed: it must be a folder that no other process is "
        "writing a run into.\n"
    )
    assert main(*TINY, "output_dir=a").code == 0


def test_a_dataset_that_is_nowhere_as_a_user_meets_it(cwd, tmp_path):
    """With the hub's real client, whose address leads nowhere."""
    ended = command(
        "dataset=mnist",
        "engine=inline",
        FLOWERBED_DATA="",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        HF_HOME=str(tmp_path / "hub"),
        HF_ENDPOINT="http://127.0.0.1:9",
        no_proxy="127.0.0.1",
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(
        "dataset='mnist' cannot be loaded: it must be at $FLOWERBED_DATA/mnist/train.parquet "
        "(FLOWERBED_DATA is not set), or the Hugging Face hub must be reachable, where it is "
        "'ylecun/mnist' ("
    )
    assert list(cwd.iterdir()) == []


def client_that(raises, in_round=1):
    """Client 4 raises in round 1 of seed 0, or every client in another round."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        server_round = TrainInstruction.of(message).server_round
        is_told_to = context.node_config["partition-id"] == 4 or in_round > 1
        if is_told_to and server_round >= in_round and context.run_config["seed"] == 0:
            raise raises
        return fedprox_client(message, context)

    return app


def test_a_client_that_raises_fails_the_run_with_its_error(cwd, main):
    ended = main(
        *TINY, "clients_per_round=6", "output_dir=a", clients=client_that(ValueError("wilted"))
    )
    assert ended.code == 1
    assert "\nClient 4 failed in round 1: ValueError: wilted\n" in f"\n{ended.err}"
    assert "test_main.py" in ended.err  # The client's own traceback says where.
    assert "Results are in" not in ended.out
    assert read_rounds(cwd / "a") == []
    assert not (cwd / "a" / "summary.json").exists()


def test_a_client_that_raises_may_be_left_out(cwd, main):
    arguments = (*TINY, "clients_per_round=6", "on_client_failure=leave_out", "output_dir=a")
    ended = main(*arguments, clients=client_that(ValueError("wilted")))
    assert (ended.code, ended.err) == (0, "")
    assert "round 2: client 4 is left out: ValueError: wilted\n" in ended.out
    assert [r["failed"] for r in read_rounds(cwd / "a")] == [{"4": "ValueError: wilted"}] * 3
    assert read_summary(cwd / "a")["client_failures"] == 3


def test_a_sweep_skips_what_is_complete_and_goes_on_with_the_rest(cwd, main):
    sweep = ("--multirun", *TINY, "clients_per_round=6", "seed=1,0,2", "output_dir=a")
    assert main(*sweep, clients=client_that(ValueError("wilted"), in_round=2)).code == 1
    summaries = [cwd / "a" / number / "summary.json" for number in ("0", "1", "2")]
    assert [file.exists() for file in summaries] == [True, False, True]
    before = summaries[0].stat().st_mtime_ns
    ended = main(*sweep)
    assert (ended.code, ended.err) == (0, "")
    said = [line for line in ended.out.splitlines() if not line.startswith(("round", "["))]
    assert said == [
        f"Complete already: results are in {cwd / 'a' / '0'}",
        "Going on after round 1.",
        f"Results are in {cwd / 'a' / '1'}",
        f"Complete already: results are in {cwd / 'a' / '2'}",
    ]
    assert summaries[0].stat().st_mtime_ns == before
    assert all(json.loads(file.read_text())["complete"] for file in summaries)


def test_a_run_that_fails_fails_its_sweep(cwd, main):
    """The others go on."""
    ended = main(
        "--multirun", *TINY, "clients_per_round=6", "seed=0,1", "output_dir=a",
        clients=client_that(ValueError("wilted")),
    )  # fmt: skip
    assert ended.code == 1
    assert "\nClient 4 failed in round 1: ValueError: wilted\n" in f"\n{ended.err}"
    complete = [(cwd / "a" / number / "summary.json").exists() for number in ("0", "1")]
    assert complete == [False, True]


@pytest.mark.parametrize("multirun", [[], ["--multirun"]])
def test_interruption(cwd, main, multirun):
    ended = main(
        *multirun, *TINY, "clients_per_round=6", "output_dir=a",
        clients=client_that(KeyboardInterrupt()),
    )  # fmt: skip
    assert (ended.code, ended.err) == (130, "Interrupted.\n")
    assert list(cwd.rglob("summary.json")) == []


def test_a_server_that_raises_is_a_failure_with_its_traceback(cwd, main, monkeypatch):
    def fail(*args, **kwargs):
        raise ArithmeticError("wilted")

    monkeypatch.setattr("fedprox.server_app.make_strategy", fail)
    ended = main(*TINY)
    assert ended.code == 1
    assert ended.err.endswith("ArithmeticError: wilted\n")


def test_models_of_both_kinds_on_images(cwd, main, tiny_mnist):
    arguments = (
        "dataset=mnist", "partition=power_law", "num_clients=12", "clients_per_round=2",
        "num_rounds=1", "num_epochs=1", "stragglers_fraction=0.0", "engine=inline",
    )  # fmt: skip
    parameters = {}
    for model in ("logistic", "cnn"):
        assert main(*arguments, f"model={model}", f"output_dir={model}").code == 0
        weights = load_file(cwd / model / "model.safetensors")
        parameters[model] = sum(array.size for array in weights.values())
        assert all(np.isfinite(array).all() for array in weights.values())
    assert parameters == {"logistic": 7_850, "cnn": 1_663_370}


def test_a_sweep_into_the_folder_of_another_changes_nothing_there(cwd, main):
    assert main("--multirun", *TINY, "mu=0.0,1.0", "output_dir=sweep").code == 0
    before = {file: file.read_bytes() for file in (cwd / "sweep").rglob("*") if file.is_file()}
    ended = main("--multirun", *TINY, "mu=2.0", "output_dir=sweep")
    assert ended.code == 2
    assert "sweep/0" in ended.err
    assert ended.err.startswith("mu=2.0 is not allowed: it must be 0.0, as in the run that ")
    after = {file: file.read_bytes() for file in (cwd / "sweep").rglob("*") if file.is_file()}
    assert after == before


def test_a_group_without_its_plus_is_answered_with_it(cwd, main):
    assert main("method=fedavg").err == (
        "method is not a key of this experiment: did you mean +method?\n"
    )
