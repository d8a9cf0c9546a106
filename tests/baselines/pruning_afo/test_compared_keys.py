import random

import made_runs
import pytest
from made_runs import make_results
from pruning_afo.compared_keys import PruningArmKeys, PruningPanelKeys
from pruning_afo.replication import REPLICATION

from common.errors import UserInputError
from common.experiment.config import read_default_config
from common.replication.comparison import compare

DEFAULTS = read_default_config(REPLICATION.folder / "pyproject.toml")

CENTRALISED = {"num_clients": 1, "clients_per_round": 1}
TOP_K = {"sparsifier": "top_k", "density": 0.01}
EF = TOP_K | {"error_feedback": True}
DGC = EF | {"density": 0.001, "warmup_rounds": 4, "residual_momentum": 0.9}
LOCAL = {"sparsifier": "threshold", "quantiser": "int8", "compress_local_gradients": True}
CONFOUNDED = {"learning_rate": 0.01, "augmentation": "none"}
GRADUAL = {"pruning": "gradual"}

# As they are sorted: anchors, then by server, pruning, and how much is sent.
ARMS = {
    "centralised": CENTRALISED,
    "FedAvg": {},
    "FedAvg, bf16 training": {"precision": "bfloat16"},
    "FedAvg, fp16 training, no augmentation, η_l = 0.01": CONFOUNDED | {"precision": "float16"},
    "FedAvg, no augmentation, η_l = 0.01": CONFOUNDED,
    "FedAvg, fp16": {"quantiser": "float16"},
    "FedAvg, bf16": {"quantiser": "bfloat16"},
    "FedAvg, int8": {"quantiser": "int8"},
    "FedAvg, int8 per row": {"quantiser": "int8", "int8_scale": "per_row"},
    "FedAvg, int8 stochastic": {"quantiser": "int8", "int8_rounding": "stochastic"},
    "FedAvg, sign, EF": {"quantiser": "sign", "error_feedback": True},
    "FedAvg, threshold 0.01": {"sparsifier": "threshold"},
    "FedAvg, threshold 0.01, int8, gradients compressed, too": LOCAL,
    "FedAvg, top-k 10 %": TOP_K | {"density": 0.1},
    "FedAvg, top-k 1 %": TOP_K,
    "FedAvg, top-k 1 %, EF": EF,
    "FedAvg, top-k 1 %, int8, EF": EF | {"quantiser": "int8"},
    "FedAvg, top-k 0.1 % after warm-up, EF, m = 0.9": DGC,
    "FedAvg, global top-k 1 %": TOP_K | {"sparsifier": "global_top_k"},
    "FedAvg, random-k 1 %": TOP_K | {"sparsifier": "random_k"},
    "FedAvg, one-shot |w| to 20 %": {"pruning": "one_shot"},
    "FedAvg, gradual |w| to 20 %": GRADUAL,
    "FedAvg, int8, gradual |w| to 20 %": GRADUAL | {"quantiser": "int8"},
    "FedAvg, gradual |w| to 5 %": GRADUAL | {"model_density": 0.05},
    "FedAvg, gradual |g| to 20 %": GRADUAL | {"importance": "gradient"},
    "FedAvg, gradual |wg| to 20 %": GRADUAL | {"importance": "taylor"},
    "FedAvg, PruneFL": {"pruning": "prunefl", "pruning_start": 0},
    "FedAvg, FedDST to 20 %": {"pruning": "feddst"},
    "FedAvgM": {"server_optimizer": "fedavgm"},
    "FedAdagrad": {"server_optimizer": "fedadagrad"},
    "FedAdam": {"server_optimizer": "fedadam"},
    "FedAdam, top-k 1 %, EF": EF | {"server_optimizer": "fedadam"},
    "FedAdam with bias correction": {"server_optimizer": "fedadam", "bias_correction": True},
    "FedYogi": {"server_optimizer": "fedyogi"},
}


def make_run(**keys):
    return made_runs.make_run(DEFAULTS, **keys)


def panels_of(*settings):
    """Compare some runs, given in any order."""
    runs = [make_run(**keys) for keys in settings]
    random.Random(0).shuffle(runs)
    return compare(REPLICATION, make_results(runs))


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_is_named_after_what_is_not_as_usual(name):
    arm = PruningArmKeys.model_validate(make_run(**ARMS[name]).config)
    assert arm.name == name
    assert arm.is_reference == (name == "centralised")


def test_arms_are_in_order():
    (found,) = panels_of(*ARMS.values()).values()
    assert list(found) == list(ARMS)


def test_a_single_panel_is_told_by_network_and_partition():
    assert list(panels_of({})) == ["ResNet-18, IID"]
    mixes = {"partition": "dirichlet_over_labels", "dirichlet_alpha": 0.5, "width": 16}
    assert list(panels_of(mixes)) == ["ResNet-18, width 16, mixes of labels, α = 0.5"]
    split = {"partition": "dirichlet_over_clients", "model": "resnet50"}
    assert list(panels_of(split)) == ["ResNet-50, classes split, α = 0.1"]


def test_titles_of_several_tell_what_differs():
    assert list(panels_of({"model": "resnet50"}, {})) == ["ResNet-18", "ResNet-50"]
    mixes = {"partition": "dirichlet_over_labels"}
    assert list(panels_of(mixes, mixes | {"dirichlet_alpha": 1.0})) == ["α = 0.1", "α = 1"]


def test_servers_may_differ_in_the_rates_they_were_tuned_to():
    adam = {"server_optimizer": "fedadam", "server_learning_rate": 0.01, "beta_1": 0.5, "tau": 0.1}
    (found,) = panels_of({}, adam).values()
    assert list(found) == ["FedAvg", "FedAdam"]


@pytest.mark.parametrize("changes", [{"learning_rate": 0.01}, {"threshold": 0.5}], ids=str)
def test_settings_that_a_figure_cannot_tell_apart_are_refused(changes):
    (key,) = changes
    with pytest.raises(UserInputError) as caught:
        panels_of({}, changes)
    assert str(caught.value) == (
        f"RUNS hold 'FedAvg' with several values of {key}: there must be one, for a figure cannot "
        "tell them apart."
    )


@pytest.mark.parametrize(
    ("schema", "keys"),
    [
        (PruningArmKeys, {"server_optimizer": "$\\frac$"}),
        (PruningArmKeys, {"sparsifier": "topk"}),
        (PruningArmKeys, {"density": -1.0}),
        (PruningArmKeys, {"pruning": "random"}),
        (PruningPanelKeys, {"model": "vgg"}),
        (PruningPanelKeys, {"width": 0}),
        (PruningPanelKeys, {"dirichlet_alpha": float("inf")}),
    ],
)
def test_a_configuration_that_cannot_be_compared_is_refused(schema, keys):
    ((key, value),) = keys.items()
    with pytest.raises(UserInputError) as caught:
        make_run(**keys).config_as(schema)
    assert str(caught.value).startswith(
        f"{key}={value!r} in 'run/config.yaml' is not allowed: it must be "
    )
