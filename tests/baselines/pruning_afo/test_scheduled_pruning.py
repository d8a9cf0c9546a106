import numpy as np
import pytest
from pruning_afo.importance import keep_globally, keep_per_layer
from pruning_afo.masks import Mask, uniform_counts
from pruning_afo.pruning_schedule import PruningRounds, cubic_density
from pruning_afo.scheduled_pruning import ScheduledPruning
from tiny_pruning import (
    PRUNABLE,
    app,
    grid_of,
    num_kept,
    options,
    play,
    same,
    server_process,
    tiny_net,
)

from common.arrays import to_arrays, view
from common.strategy.server_optimizer import FedAvgM

__all__ = ["server_process"]
pytestmark = pytest.mark.usefixtures("server_process")

W_0 = to_arrays(tiny_net())


def strategy(start, end, every, importance="weight", density=0.1, **changes):
    return ScheduledPruning(
        **options(**changes),
        shapes=PRUNABLE,
        rounds=PruningRounds(start, end, every),
        importance=importance,
        density=density,
    )


@pytest.mark.parametrize("importance", ["weight", "gradient", "taylor"])
def test_the_mask_is_that_of_the_models_of_its_round(importance):
    """Before round 2 nothing was pruned: the dense run tells w and the mean update."""
    w_1, w_2 = play(strategy(9, 9, 1), grid_of(app()), W_0, [1, 2])
    w = {key: view(w_2[key]) for key in PRUNABLE}
    update = {key: w[key] - view(w_1[key]) for key in PRUNABLE}
    scores = {
        "weight": w,
        "gradient": update,
        "taylor": {key: w[key] * update[key] for key in PRUNABLE},
    }[importance]
    full = Mask.full(PRUNABLE)
    if importance == "weight":
        expected = keep_per_layer(full, scores, uniform_counts(PRUNABLE, 0.1))
    else:
        expected = keep_globally(full, scores, 0.1)
    pruned = play(strategy(2, 2, 1, importance), grid_of(app()), W_0, [1, 2])[-1]
    for key in PRUNABLE:
        np.testing.assert_array_equal(view(pruned[key]) != 0, expected.is_kept[key])
        np.testing.assert_array_equal(view(pruned[key]), np.where(expected.is_kept[key], w[key], 0))


def test_gradients_are_those_of_the_clients_whatever_the_server_optimiser_does():
    momentum = FedAvgM(
        {name: w.detach().numpy() for name, w in tiny_net().named_parameters()},
        server_learning_rate=-1.0,
        beta_1=0.0,
    )
    (plain,) = play(strategy(1, 1, 1, "gradient"), grid_of(app()), W_0, [1])
    backward = strategy(1, 1, 1, "gradient", server_optimizer=momentum)
    (reverse,) = play(backward, grid_of(app()), W_0, [1])
    for key in PRUNABLE:
        assert ((view(plain[key]) == 0) == (view(reverse[key]) == 0)).all()
        assert not np.array_equal(view(plain[key]), view(reverse[key]))


@pytest.mark.parametrize("importance", ["weight", "taylor"])
def test_gradual_pruning_follows_the_schedule_and_brings_nothing_back(importance):
    models = play(strategy(1, 6, 2, importance), grid_of(app()), W_0, range(1, 8))
    progress = [0, 0, 0.4, 0.4, 0.8, 1, 1]
    is_pruned = {key: np.zeros(shape, bool) for key, shape in PRUNABLE.items()}
    for w, done in zip(models, progress, strict=True):
        density = cubic_density(done, 0.1)
        if importance == "weight":
            assert num_kept(w) == uniform_counts(PRUNABLE, density)
        else:
            assert sum(num_kept(w).values()) == round(density * 456)
        for key, before in is_pruned.items():
            assert not view(w[key])[before].any()
            is_pruned[key] = view(w[key]) == 0


def test_one_round_of_gradual_pruning_is_one_shot():
    models = [play(strategy(2, 2, every), grid_of(app()), W_0, [1, 2, 3]) for every in (1, 5)]
    assert same(models[0][-1], models[1][-1])
