"""The sweeps of conf/experiment: what they say, and that every arm of them runs, shrunk."""

from functools import cache
from pathlib import Path

import hydra
import imagenet_resnet
import numpy as np
import pytest
import tiny_imagenette
import yaml
from hydra_state import hydra_as_new
from imagenet_resnet.config import ImageNetConfig
from imagenet_resnet.figures import FIGURES
from imagenet_resnet.replication import REPLICATION
from safetensors.numpy import load_file

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.experiment import cli
from common.experiment.sweep import config_values, expand_sweep
from common.replication.comparison import compare
from common.replication.tables import tables

CONF = Path(imagenet_resnet.__file__).parent / "conf"
FILES = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
# What others start from, and the quick start.
BASES = {"imagenet", "imagenette", "smoke"}
ALPHAS = {0.1, 100.0}

# The earlier benchmark's, which every experiment has but for what it says, and every arm but for
# what its method says.
PROTOCOL = {
    "dataset": "imagenet_val", "image_size": 224, "augmentation": "none",
    "partition": "dirichlet_over_clients", "min_partition_size": 0,
    "model": "resnet18", "num_stages": 4, "weights": "IMAGENET1K_V1", "head": "fresh",
    "norm": "batch", "trainable": "all", "num_clients": 10, "clients_per_round": 10,
    "num_rounds": 20, "num_epochs": 5, "batch_size": 32, "learning_rate": 0.01, "momentum": 0.9,
    "precision": "float32", "mu_schedule": "constant", "mu_final": 0.0, "adaptive_mu": False,
    "weighting": "uniform", "buffers": "average", "server_optimizer": "none",
    "evaluate_train_loss": False, "evaluate_clients": False, "measure_drift": True,
    "server_device": "cpu",
}  # fmt: skip
FEDAVG = {"algorithm": "fedavg", "mu": 0.0}
POOLED = FEDAVG | {"num_clients": 1, "clients_per_round": 1}
LOCAL = FEDAVG | {"num_rounds": 1, "evaluate_clients": True}
DYNAMIC = {"algorithm": "fedprox", "mu": 0.1}
METHODS = {
    "fedavg": FEDAVG,
    "fedprox_mu0.001": {"algorithm": "fedprox", "mu": 0.001},
    "fedprox_mu0.01": {"algorithm": "fedprox", "mu": 0.01},
    "fedprox_mu0.1": {"algorithm": "fedprox", "mu": 0.1},
    "fedprox_mu1": {"algorithm": "fedprox", "mu": 1.0},
    "fedprox_adaptive": {
        "algorithm": "fedprox", "mu": 0.0, "adaptive_mu": True, "evaluate_train_loss": True
    },
    "fedprox_linear": DYNAMIC | {"mu_schedule": "linear"},
    "fedprox_cosine": DYNAMIC | {"mu_schedule": "cosine"},
    "zero_shot": POOLED | {"head": "keep", "num_rounds": 1, "num_epochs": 0},
    "linear_probe": POOLED | {"trainable": "head"},
    "linear_probe_layer3": POOLED | {"trainable": "head", "num_stages": 3},
    "centralised": POOLED,
    "local_only_5_epochs": LOCAL | {"num_epochs": 5},
    "local_only_100_epochs": LOCAL | {"num_epochs": 100},
}  # fmt: skip
GRID = {"fedavg", "fedprox_mu0.001", "fedprox_mu0.01", "fedprox_mu0.1", "fedprox_mu1"}
SCHEDULES = {"fedavg", "fedprox_mu0.01", "fedprox_linear", "fedprox_cosine", "fedprox_adaptive"}
ANCHORS = {"centralised", "local_only_100_epochs"}

ON_GPU = {"server_device": "cuda"}
IMAGENETTE = {
    "dataset": "imagenette", "min_partition_size": 32, "weights": "resnet18_imagenet_trunk.pth"
}  # fmt: skip
HEAD = IMAGENETTE | {"image_size": 128, "num_stages": 3, "trainable": "head"}
# Experiment: what all arms have but for their methods, and the methods.
PROTOCOLS = {
    "published": (ON_GPU, {"fedavg", "fedprox_mu0.01"}),
    "mu_grid": (ON_GPU, GRID | ANCHORS | {"zero_shot", "linear_probe", "fedprox_adaptive"}),
    "long": (ON_GPU | {"num_rounds": 100}, SCHEDULES),
    "imagenette_full": (
        IMAGENETTE | ON_GPU | {"image_size": 128},
        GRID | ANCHORS | {"fedprox_adaptive"},
    ),
    "imagenette_head": (HEAD, GRID | ANCHORS | {"fedprox_adaptive"}),
    "imagenette_head_long": (HEAD | {"num_rounds": 100}, SCHEDULES),
    "imagenette_head_mean": (HEAD, {"fedavg"}),
    "imagenette_layer4": (
        IMAGENETTE
        | {
            "image_size": 64, "trainable": "layer4", "num_rounds": 5, "num_epochs": 1,
            "precision": "bfloat16",
        },
        {
            *("linear_probe_layer3", "centralised", "local_only_5_epochs", "fedavg"),
            *("fedprox_mu0.01", "fedprox_mu0.1", "fedprox_mu1"),
        },
    ),
}  # fmt: skip


@pytest.fixture
def hydra_state(monkeypatch):
    with hydra_as_new(monkeypatch):
        yield


@cache
def compose_sweep(name):
    """Return every run of an experiment's sweep, checked, with the name of its method.

    Hydra, which takes long, composes every method once; plain keys are added here.
    """
    cli.compose_config("imagenet_resnet", ImageNetConfig, [])  # Makes the defaults known to Hydra.
    runs, composed = [], {}
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        sweep = hydra.compose("config", [f"+experiment={name}"], return_hydra_config=True)
        for overrides in expand_sweep(sweep):
            values = dict(key.lstrip("+").split("=") for key in overrides)
            del values["experiment"]
            method = values.pop("method", None)
            if method not in composed:
                keys = [f"+experiment={name}", *([f"method={method}"] if method else [])]
                composed[method] = config_values(hydra.compose("config", keys))
            plain = {key: yaml.safe_load(value) for key, value in values.items()}
            runs.append((method, ImageNetConfig.parse(composed[method] | plain)))
    return runs


def test_every_experiment_is_a_figure_and_every_figure_an_experiment():
    assert FIGURES.keys() == FILES - BASES
    assert FILES >= BASES
    assert PROTOCOLS.keys() == FIGURES.keys()


def test_a_figure_says_what_it_is():
    titles = [figure.title for figure in FIGURES.values()]
    assert len({*titles}) == len(titles)
    assert all(figure.question for figure in FIGURES.values())


def test_every_method_is_in_some_experiment():
    assert {file.stem for file in CONF.glob("method/*.yaml")} == METHODS.keys()
    assert set().union(*(methods for _, methods in PROTOCOLS.values())) == METHODS.keys()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_sweep_is_the_stated_protocol_and_a_method_has_the_last_word(hydra_state, name):
    stated, methods = PROTOCOLS[name]
    arms = {}
    for method, run in compose_sweep(name):
        expected = PROTOCOL | stated | METHODS[method]
        if name == "imagenette_head_mean":
            del expected["weighting"]
        found = {key: getattr(run, key) for key in expected}
        assert found == expected
        arms.setdefault((method, run.dirichlet_alpha, run.weighting), []).append(run.seed)
    weightings = {"uniform"} | ({"examples"} if name == "imagenette_head_mean" else set())
    assert arms.keys() == {(m, a, w) for m in methods for a in ALPHAS for w in weightings}
    # All have the same seeds, so that arms can be paired.
    (seeds,) = {tuple(seeds) for seeds in arms.values()}
    assert len(seeds) >= 3
    assert seeds == tuple(range(len(seeds)))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_clients_that_never_meet_do_as_many_epochs_as_the_others(hydra_state, name):
    runs = dict(compose_sweep(name))
    budget = runs["fedavg"].num_rounds * runs["fedavg"].num_epochs
    for method, run in runs.items():
        assert method == "zero_shot" or run.num_rounds * run.num_epochs == budget, method


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_gpu_is_shared_by_four_workers(hydra_state, name):
    for _, run in compose_sweep(name):
        assert run.client_resources.num_gpus == (0.25 if run.server_device == "cuda" else 0)


@pytest.mark.parametrize("name", sorted(BASES))
def test_what_sweeps_start_from_is_a_run_by_itself(hydra_state, name):
    ((_, run),) = compose_sweep(name)
    data = ("imagenet_val", 0) if name == "imagenet" else ("imagenette", 32)
    assert (run.dataset, run.min_partition_size) == data
    assert run.seed == 0
    if name == "smoke":
        assert (run.image_size, run.num_rounds * run.num_epochs) <= (64, 20)
        assert (run.num_stages, run.trainable) == (3, "head")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_names_tell_the_arms_of_a_panel_apart(hydra_state, name):
    """Anchors come first."""
    arms = {}
    for _, run in compose_sweep(name):
        values = run.model_dump()
        arm = REPLICATION.arm_keys.model_validate(values)
        panel = REPLICATION.panel_keys.model_validate(values)
        arms.setdefault(panel, set()).add(arm)
    assert len(arms) == 2
    for of_panel in arms.values():
        names = [arm.name for arm in sorted(of_panel, key=lambda arm: arm.order)]
        assert len({*names}) == len(names)
        first = next(i for i, name in enumerate(names) if name.startswith("Fed"))
        assert all(name.startswith("Fed") for name in names[first:])
        assert FIGURES[name].reference == names[first] == "FedAvg"


def shrink(config, weights_file, output_dir):
    """Make a run two rounds of three clients, on the tiny Imagenette."""
    small = {
        "dataset": "imagenette",
        "image_size": 32,
        "min_partition_size": 8,
        "num_clients": min(config.num_clients, 3),
        "clients_per_round": min(config.num_clients, 3),
        "num_rounds": min(config.num_rounds, 2),
        "num_epochs": min(config.num_epochs, 2),
        "weights": weights_file if config.weights == "IMAGENET1K_V1" else tiny_imagenette.TRUNK,
        "engine": "inline",
        "server_device": "cpu",
        "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0},
        "output_dir": str(output_dir),
    }
    return ImageNetConfig.parse(config.model_dump() | small)


# All networks and methods; other experiments have some of the same.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("imagenette_head", "imagenette_head_long", "imagenette_head_mean", "imagenette_layer4"),
        *("imagenette_full", "mu_grid"),
    ],
)
def test_every_method_runs(hydra_state, name, tiny_images, weights_file, run, tmp_path):
    configs = {
        (method, config.weighting): config
        for method, config in compose_sweep(name)
        if (config.dirichlet_alpha, config.seed) == (100.0, 0)
    }
    for number, config in enumerate(configs.values()):
        folder = tmp_path / "runs" / str(number)
        run(shrink(config, weights_file, folder))
        weights = load_file(folder / "model.safetensors")
        assert all(np.isfinite(array).all() for array in weights.values())
    results = Results.of(load_runs([tmp_path / "runs"]))
    panels = compare(REPLICATION, results)
    (arms,) = panels.values()
    assert len(arms) == len(configs)
    for arm in arms.values():
        for metric in ("test_accuracy", "test_top5_accuracy", "test_loss", "drift", "mu_t"):
            assert np.isfinite(arm.curves(metric)).all(), metric
    assert all(arm in tables(REPLICATION, panels, name).markdown for arm in arms)
