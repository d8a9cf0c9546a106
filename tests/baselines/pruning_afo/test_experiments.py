"""The sweeps of conf/experiment: what they say, and that every arm of them runs, shrunk."""

from functools import cache
from pathlib import Path

import hydra
import numpy as np
import pruning_afo
import pytest
import yaml
from hydra_state import hydra_as_new
from pruning_afo.config import PruningConfig
from pruning_afo.figures import FIGURES
from pruning_afo.replication import REPLICATION
from run_folders import read_rounds, read_summary

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.experiment import cli
from common.experiment.config import read_default_config
from common.experiment.sweep import config_values, expand_sweep
from common.replication.comparison import compare
from common.replication.tables import tables

CONF = Path(pruning_afo.__file__).parent / "conf"
FILES = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml"))
GROUPS = ("method", "server", "compression")
# What others start from, and the quick start.
BASES = {"cpu", "reddi", "smoke"}
DEFAULTS = read_default_config(REPLICATION.folder / "pyproject.toml")

CPU = {"width": 16, "batches_per_epoch": 30, "num_rounds": 20, "learning_rate_steps": "0.7,0.9"}
REDDI = {
    "partition": "dirichlet_over_labels", "norm": "group", "num_clients": 500,
    "clients_per_round": 10, "num_rounds": 4000, "num_epochs": 1, "batch_size": 20,
    "learning_rate_steps": "", "momentum": 0.0, "weight_decay": 0.0,
}  # fmt: skip
# What arms of an experiment have that is not the document's protocol.
PROTOCOLS = {
    "document": {},
    "document_resnet50": {"model": "resnet50"},
    "grid": {},
    "compressors": {},
    "pruning": {"pruning_end": 30},
    "afo": REDDI,
    "cpu_grid": CPU,
    "cpu_precision": CPU | {"width": 8, "batches_per_epoch": 15, "num_rounds": 15},
    "cpu_afo": CPU | {"partition": "dirichlet_over_labels", "num_clients": 20},
    "cpu_pruning": CPU | {"pruning_end": 14, "pruning_every": 2},
}
# Keys in which the arms of an experiment may differ.
OF_ARMS = {*REPLICATION.arm_keys.model_fields, *REPLICATION.also_differ, "seed"}
# Reddi et al. 2021, for CIFAR-10: base-10 logarithms of the clients' rate and of the server's.
TUNED = {
    "fedavg_reddi": (-0.5, 0.0),
    "fedavgm": (-1.5, -0.5),
    "fedadagrad": (-1.5, -1.0),
    "fedadam": (-1.5, -2.0),
    "fedyogi": (-1.5, -2.0),
}


@pytest.fixture
def hydra_state(monkeypatch):
    with hydra_as_new(monkeypatch):
        yield


@pytest.fixture(autouse=True, scope="module")
def forget_runs():
    yield
    compose_sweep.cache_clear()


@cache
def compose_sweep(name):
    """Return every run of an experiment's sweep, checked, with the names of its groups' files.

    Hydra, which takes long, composes every choice of files once; plain keys are added here.
    """
    cli.compose_config("pruning_afo", PruningConfig, [])  # Makes the defaults known to Hydra.
    runs, composed = [], {}
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        sweep = hydra.compose("config", [f"+experiment={name}"], return_hydra_config=True)
        for overrides in expand_sweep(sweep):
            values = dict(key.lstrip("+").split("=") for key in overrides)
            del values["experiment"]
            files = tuple(f"{key}={values.pop(key)}" for key in GROUPS if key in values)
            if files not in composed:
                keys = [f"+experiment={name}", *files]
                composed[files] = config_values(hydra.compose("config", keys))
            plain = {key: yaml.safe_load(value) for key, value in values.items()}
            chosen = tuple(file.partition("=")[2] for file in files)
            runs.append((chosen, PruningConfig.parse(composed[files] | plain)))
    return runs


def compose(*overrides):
    return cli.compose_config("pruning_afo", PruningConfig, list(overrides))


def test_every_experiment_is_a_figure_and_every_figure_an_experiment():
    assert FIGURES.keys() == FILES - BASES
    assert FILES >= BASES
    assert PROTOCOLS.keys() == FIGURES.keys()


def test_a_figure_says_what_it_is():
    titles = [figure.title for figure in FIGURES.values()]
    assert len({*titles}) == len(titles)
    assert all(figure.question for figure in FIGURES.values())


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_sweep_is_the_stated_protocol_and_arms_differ_in_the_method_alone(hydra_state, name):
    arms = {}
    for _, run in compose_sweep(name):
        values = run.model_dump()
        expected = DEFAULTS | PROTOCOLS[name]
        for key in values.keys() - OF_ARMS:
            if key not in ("engine", "client_resources", "server_device", "dirichlet_alpha"):
                assert values[key] == expected[key], key
        arm = REPLICATION.arm_keys.model_validate(values)
        arms.setdefault(arm, []).append(run.seed)
    # All have the same seeds, so that arms can be paired.
    (seeds,) = {tuple(seeds) for seeds in arms.values()}
    assert len(seeds) >= 3
    assert seeds == tuple(range(len(seeds)))
    names = [arm.name for arm in sorted(arms, key=lambda arm: arm.order)]
    assert len({*names}) == len(names)
    assert FIGURES[name].reference in names


def test_the_grid_is_the_whole_one(hydra_state):
    arms = {
        (run.sparsifier, run.density, run.quantiser, run.error_feedback, run.server_optimizer)
        for _, run in compose_sweep("grid")
    }
    entries = [("none", 0.01), ("top_k", 0.1), ("top_k", 0.01), ("top_k", 0.001)]
    assert arms == {
        (*entry, quantiser, feeds_back, server)
        for entry in entries
        for quantiser in ("float32", "float16", "int8")
        for feeds_back in (False, True)
        for server in ("none", "fedavgm", "fedadam", "fedyogi")
    }


def test_server_optimisers_have_the_rates_that_they_were_tuned_to(hydra_state):
    runs = {method: run for (method,), run in compose_sweep("afo")}
    assert runs.keys() == TUNED.keys()
    for method, (client, server) in TUNED.items():
        run = runs[method]
        assert run.learning_rate == pytest.approx(10**client, rel=1e-3), method
        if method != "fedavg_reddi":
            assert run.server_optimizer == method
            assert run.server_learning_rate == pytest.approx(10**server, rel=1e-3), method
        if method in ("fedadam", "fedyogi"):
            assert (run.beta_1, run.beta_2, run.bias_correction) == (0.9, 0.99, False)


def test_the_documents_method_is_a_threshold_and_8_bits(hydra_state):
    runs = {method: run for (method,), run in compose_sweep("document")}
    for method, run in runs.items():
        if "threshold" in method:
            assert (run.sparsifier, run.threshold, run.quantiser) == ("threshold", 0.01, "int8")
            assert run.compress_local_gradients == ("gradients" in method)
            assert run.precision == ("float16" if "fp16" in method else "float32")
        # What was mixed up with the precision: a tenth of the rate, and no augmentation.
        found = (run.learning_rate, run.augmentation)
        assert found == ((0.01, "none") if "confounded" in method else (0.1, "crop_flip"))
    assert runs["centralised"].num_clients == 1


@pytest.mark.parametrize("name", sorted(BASES))
def test_what_sweeps_start_from_is_a_run_by_itself(hydra_state, name):
    ((_, run),) = compose_sweep(name)
    assert (run.dataset, run.seed) == ("cifar10", 0)
    if name == "smoke":
        batches = run.clients_per_round * run.num_rounds * run.batches_per_epoch
        assert batches * run.width <= 2000
        assert run.error_feedback


@pytest.mark.parametrize(
    "override",
    sorted(
        f"+{group}={file.stem}"
        for group in ("server", "compression")
        for file in (CONF / group).glob("*.yaml")
    ),
)
def test_a_part_of_a_method_is_a_choice_by_itself(hydra_state, override):
    group, _, name = override.removeprefix("+").partition("=")
    config = compose(override)
    if group == "server":
        expected = "none" if name == "fedavg" else name.removesuffix("_corrected")
        assert config.server_optimizer == expected
    else:
        assert config.compresses == (name != "none")


def shrink(config, output_dir):
    """Make a run five rounds of up to three clients and one mini-batch each, of the tiny images."""
    num_clients = min(config.num_clients, 3)
    small = {
        "width": 2,
        "num_clients": num_clients,
        "clients_per_round": num_clients,
        "num_rounds": 5,
        "batches_per_epoch": 1,
        "batch_size": 16,
        "pruning_start": min(config.pruning_start, 1),
        "pruning_end": 4,
        "pruning_every": 1,
        "engine": "inline",
        "server_device": "cpu",
        "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0},
        "output_dir": str(output_dir),
    }
    return PruningConfig.parse(config.model_dump() | small)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs(hydra_state, tiny_cifar10_at_hand, run, tmp_path, method):
    config = shrink(compose(f"+method={method}"), tmp_path / "run")
    run(config)
    rounds = read_rounds(tmp_path / "run")
    assert len(rounds) == 5
    assert all(np.isfinite(line["test_loss"]) for line in rounds)
    if config.compresses and config.pruning == "none":
        assert 0 <= rounds[-1]["density_up"] <= 1
        # Of so little training nothing is beyond a threshold.
        assert rounds[-1]["density_up"] > 0 or config.sparsifier == "threshold"
    if config.pruning != "none":
        assert 0 < rounds[-1]["model_density"] < 1
    results = Results.of(load_runs([tmp_path]))
    panels = compare(REPLICATION, results)
    (arms,) = panels.values()
    (arm,) = arms
    assert arm.replace("|", r"\|") in tables(REPLICATION, panels, "grid").markdown
    assert read_summary(tmp_path / "run")["complete"] is True
