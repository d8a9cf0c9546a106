import pytest
from pruning_afo.feddst import FedDst
from pruning_afo.prunefl import PruneFl
from pruning_afo.pruning import make_pruning_strategy
from pruning_afo.scheduled_pruning import ScheduledPruning
from tiny_pruning import app, grid_of, num_kept, options, play, server_process, tiny_net

from common.arrays import to_arrays
from common.errors import UserInputError
from common.strategy.fedavg import FedAvg

__all__ = ["server_process"]
pytestmark = pytest.mark.usefixtures("server_process")


def make(pruning, **changes):
    keys = {
        "importance": "weight",
        "model_density": 0.2,
        "pruning_start": 1,
        "pruning_end": 3,
        "pruning_every": 2,
    }
    return make_pruning_strategy(pruning, **options(), **keys | changes, model=tiny_net())


@pytest.mark.parametrize(
    ("pruning", "kind"),
    [
        ("none", FedAvg),
        ("one_shot", ScheduledPruning),
        ("gradual", ScheduledPruning),
        ("prunefl", PruneFl),
        ("feddst", FedDst),
    ],
)
def test_each_way_to_prune_has_its_strategy(pruning, kind):
    assert type(make(pruning)) is kind


def test_the_densities_of_each_after_its_first_and_last_round():
    kept = {}
    for pruning in ("none", "one_shot", "gradual", "prunefl", "feddst"):
        first, _, last = play(make(pruning), grid_of(app()), to_arrays(tiny_net()), [1, 2, 3])
        kept[pruning] = sum(num_kept(first).values()), sum(num_kept(last).values())
    assert kept["none"] == (456, 456)
    assert kept["one_shot"] == (91, 91)
    assert kept["gradual"] == (456, 91)
    assert kept["prunefl"][0] == 91
    assert kept["prunefl"][1] != 91
    assert kept["feddst"] == (91, 91)


def test_one_shot_pruning_needs_no_end():
    make("one_shot", pruning_start=9)
    with pytest.raises(UserInputError, match="pruning_end=3 is not allowed"):
        make("gradual", pruning_start=9)
