"""The sweeps of conf/experiment: what they say, and that every arm of them runs, shrunk."""

import io
from functools import cache
from itertools import product
from pathlib import Path

import fedprox
import hydra
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fedprox.config import FedProxConfig
from fedprox.figures import FIGURES
from fedprox.replication import REPLICATION
from hydra_state import hydra_as_new
from PIL import Image
from safetensors.numpy import load_file

from common.analysis.results import Results
from common.analysis.runs import load_runs
from common.experiment import cli
from common.experiment.sweep import config_values, expand_sweep
from common.replication.comparison import compare
from common.replication.tables import tables

CONF = Path(fedprox.__file__).parent / "conf"
FILES = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
GROUPS = ("+experiment=", "+method=", "+data=")
# What others start from.
BASES = {"synthetic_protocol", "synthetic", "femnist", "cnn"}

IID = "synthetic_iid"
HETEROGENEOUS = ("synthetic 0 0", "synthetic 0.5 0.5", "synthetic 1 1")
AVG, MU_0, MU_1 = "fedavg", "fedprox 0", "fedprox 1"
THREE = {AVG, MU_0, MU_1}
GRID = {"fedprox 0", "fedprox 0.001", "fedprox 0.01", "fedprox 0.1", "fedprox 1"}

SYNTHETIC = {
    "num_clients": 30, "clients_per_round": 10, "num_rounds": 200, "num_epochs": 20,
    "batch_size": 10, "learning_rate": 0.01, "model": "logistic", "partition": "power_law",
    "evaluate_train_loss": True, "evaluate_dissimilarity": False,
}  # fmt: skip
MNIST = SYNTHETIC | {
    "num_clients": 1000, "num_rounds": 100, "learning_rate": 0.03, "classes_per_client": 2,
    "normalisation": "per_pixel",
}  # fmt: skip
FEMNIST = SYNTHETIC | {
    "num_clients": 200, "num_rounds": 200, "learning_rate": 0.003, "classes_per_client": 5
}  # fmt: skip
CNN = {
    "model": "cnn", "num_clients": 100, "clients_per_round": 10, "num_epochs": 5, "batch_size": 10,
    "learning_rate": 0.1, "evaluate_train_loss": False, "normalisation": "global",
}  # fmt: skip

# Experiment: what all runs have, and data x methods x fractions of stragglers of its arms.
PROTOCOLS = {
    "demo": (SYNTHETIC, ["synthetic 1 1"], THREE, [0, 0.5, 0.9]),
    "figure1_synthetic": (SYNTHETIC, ["synthetic 1 1"], THREE, [0, 0.5, 0.9]),
    "figure1_mnist": (MNIST, ["mnist"], THREE, [0, 0.5, 0.9]),
    "figure1_femnist": (FEMNIST, ["femnist"], THREE, [0, 0.5, 0.9]),
    "figure2": (
        SYNTHETIC | {"evaluate_dissimilarity": True}, [IID, *HETEROGENEOUS], {MU_0, MU_1}, [0]
    ),
    "figure3": (
        SYNTHETIC, [IID, *HETEROGENEOUS],
        {MU_0, MU_1, "adaptive fedprox 0", "adaptive fedprox 1"}, [0],
    ),
    "figure5": (SYNTHETIC, [IID], {AVG, MU_0}, [0, 0.1, 0.5, 0.9]),
    "figure9_synthetic": (
        SYNTHETIC | {"num_epochs": 1}, ["synthetic 1 1"], THREE, [0, 0.5, 0.9]
    ),
    "figure9_mnist": (MNIST | {"num_epochs": 1}, ["mnist"], THREE, [0, 0.5, 0.9]),
    "mu_grid_synthetic": (SYNTHETIC, ["synthetic 1 1"], GRID, [0.9]),
    "mu_grid_mnist": (MNIST, ["mnist"], GRID, [0.9]),
    "flower_mnist": (
        MNIST | {"num_epochs": 10, "normalisation": "global"}, ["mnist"],
        {AVG, MU_0, "fedprox 2"}, [0, 0.5, 0.9],
    ),
    "normalisation": (
        {key: value for key, value in MNIST.items() if key != "normalisation"}, ["mnist"], THREE,
        [0.9],
    ),
    "alpha_only": (
        SYNTHETIC | {"evaluate_dissimilarity": True}, ["synthetic 0 0", "synthetic 1 0"], {MU_0},
        [0],
    ),
    "cnn_iid": (CNN | {"partition": "iid"}, ["mnist"], {AVG}, [0]),
    "cnn_shards": (CNN | {"partition": "shards"}, ["mnist"], {AVG}, [0]),
}  # fmt: skip


@pytest.fixture
def hydra_state(monkeypatch):
    with hydra_as_new(monkeypatch):
        yield


@cache
def compose_sweep(name):
    """Return every run of an experiment's sweep, checked.

    Hydra, which takes long, composes every method and data set once; plain keys are added here.
    """
    cli.compose_config("fedprox", FedProxConfig, [])  # Which makes the defaults known to Hydra.
    runs, composed = [], {}
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        sweep = hydra.compose("config", [f"+experiment={name}"], return_hydra_config=True)
        for overrides in expand_sweep(sweep):
            groups = tuple(key for key in overrides if key.startswith(GROUPS))
            if groups not in composed:
                composed[groups] = config_values(hydra.compose("config", list(groups)))
            pairs = [key.lstrip("+").split("=") for key in overrides if key not in groups]
            plain = {key: yaml.safe_load(value) for key, value in pairs}
            runs.append(FedProxConfig.parse(composed[groups] | plain))
    return runs


def data(run):
    synthetic = f" {run.synthetic_alpha:g} {run.synthetic_beta:g}"
    return run.dataset + (synthetic if run.dataset == "synthetic" else "")


def method(run):
    if run.algorithm == "fedavg":
        return AVG
    return f"{'adaptive ' if run.adaptive_mu else ''}fedprox {run.mu:g}"


def test_every_experiment_is_a_figure_and_every_figure_an_experiment():
    assert FIGURES.keys() == FILES - BASES
    assert FILES >= BASES
    assert PROTOCOLS.keys() == FIGURES.keys()


def test_a_figure_says_what_it_is():
    titles = [figure.title for figure in FIGURES.values()]
    assert len({*titles}) == len(titles)
    assert all(figure.question for figure in FIGURES.values())


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_sweep_is_the_stated_protocol(hydra_state, name):
    protocol, all_data, methods, fractions = PROTOCOLS[name]
    runs = compose_sweep(name)
    for key, value in protocol.items():
        assert {getattr(run, key) for run in runs} == {value}, key
    arms = {}
    for run in runs:
        arm = (data(run), run.normalisation, method(run), run.stragglers_fraction)
        arms.setdefault(arm, []).append(run.seed)
    normalisations = ["per_pixel", "global"]
    if name != "normalisation":
        normalisations = [protocol.get("normalisation", "per_pixel")]
    assert arms.keys() == {*product(all_data, normalisations, methods, fractions)}
    # All have the same seeds, so that arms can be paired.
    (seeds,) = {tuple(seeds) for seeds in arms.values()}
    assert seeds == tuple(range(len(seeds)))
    assert len(seeds) == 1 if name == "demo" else len(seeds) >= 5


@pytest.mark.parametrize("name", sorted(BASES))
def test_what_sweeps_start_from_is_a_run_by_itself(hydra_state, name):
    runs = compose_sweep(name)
    assert [run.seed for run in runs] == [0]


def test_the_demo_is_a_seed_of_the_first_figure(hydra_state):
    assert compose_sweep("demo") == [r for r in compose_sweep("figure1_synthetic") if r.seed == 0]


@pytest.mark.parametrize("file", sorted(CONF.glob("method/*.yaml")), ids=lambda file: file.stem)
def test_a_method_is_what_its_name_says(hydra_state, file):
    name = file.stem
    config = cli.compose_config("fedprox", FedProxConfig, [f"+method={name}"])
    assert method(config) == (
        name if name == "fedavg"
        else "adaptive fedprox " + name.removeprefix("fedprox_adaptive_mu") if "adaptive" in name
        else "fedprox " + name.removeprefix("fedprox_mu")
    )  # fmt: skip


@pytest.mark.parametrize("file", sorted(CONF.glob("data/*.yaml")), ids=lambda file: file.stem)
def test_data_are_what_their_name_says(hydra_state, file):
    config = cli.compose_config("fedprox", FedProxConfig, [f"+data={file.stem}"])
    assert data(config) == (file.stem if file.stem == IID else file.stem.replace("_", " "))


@pytest.fixture
def tiny_femnist(tmp_path, monkeypatch, forget_data):
    """Forty random images of each of the letters a to j, of which four test."""
    rng = np.random.default_rng(0)
    images = []
    for image in rng.integers(0, 256, (400, 28, 28), dtype=np.uint8):
        png = io.BytesIO()
        Image.fromarray(image).save(png, "PNG")
        images.append({"bytes": png.getvalue(), "path": None})
    schema = {
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "writer_id": pa.string(),
        "hsf_id": pa.int64(),
        "character": pa.int64(),
    }
    columns = {
        "image": images,
        "writer_id": [f"f{i // 9:04d}_14" for i in range(400)],
        "hsf_id": [0] * 400,
        "character": rng.permutation(np.repeat(np.arange(36, 46), 40)),
    }
    file = tmp_path / "data" / "femnist" / "train.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns, schema=pa.schema(schema)), file)
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def shrink(config, output_dir):
    """Make a run one round of two clients, of as many as the tiny data sets are enough for."""
    small = {
        "num_clients": 12 if config.dataset == "mnist" else 6,
        "clients_per_round": 2,
        "num_rounds": 1,
        "num_epochs": min(config.num_epochs, 2),
        # One of two, which leaves FedAvg the other.
        "stragglers_fraction": min(config.stragglers_fraction, 0.5),
        "engine": "inline",
        "output_dir": str(output_dir),
    }
    return FedProxConfig.parse(config.model_dump() | small)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_method_runs_on_every_data_set_of_its_experiment(
    hydra_state, name, request, run, tmp_path
):
    dataset = PROTOCOLS[name][1][0]
    if dataset in ("mnist", "femnist"):
        request.getfixturevalue(f"tiny_{dataset}")
    # Not of every fraction of stragglers: the highest.
    configs = {
        (data(config), config.normalisation, method(config)): config
        for config in sorted(compose_sweep(name), key=lambda config: config.stragglers_fraction)
    }
    for number, config in enumerate(configs.values()):
        folder = tmp_path / "runs" / str(number)
        run(shrink(config, folder))
        weights = load_file(folder / "model.safetensors")
        assert all(np.isfinite(array).all() for array in weights.values())
        assert any(array.any() for array in weights.values())
    results = Results.of(load_runs([tmp_path / "runs"]))
    protocol = PROTOCOLS[name][0]
    expected = {"test_accuracy", "test_loss", "mu_t"}
    expected |= {"train_loss"} if protocol["evaluate_train_loss"] else set()
    expected |= {"dissimilarity"} if protocol.get("evaluate_dissimilarity") else set()
    for metric in expected:
        assert np.isfinite(results.curves(metric)).all(), metric
    assert results.rounds["run"].size == len(configs)

    panels = compare(REPLICATION, results)
    assert sum(map(len, panels.values())) == len(configs)
    assert tables(REPLICATION, panels, name).markdown.startswith(
        "Mean over the last round of seed "
    )
