import numpy as np
import pytest
import tiny_imagenette
import torch
from imagenet_resnet import model as module
from imagenet_resnet.model import make_model, make_tail, require_normalisable, trunk_output_shape
from refusal import refusal
from torch import nn
from torchvision.models import get_model

from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.data.imagenette import IMAGENET_CLASSES

IMAGENET = {"dataset": "imagenet_val", "head": "keep"}


@pytest.fixture
def weights(monkeypatch):
    """Makes these tensors what every name of weights means, those of a whole ResNet-18 at first."""

    def become(state):
        monkeypatch.setattr(module, "load_weights", lambda name, model: dict(state))
        return state

    become(tiny_imagenette.state())
    return become


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def whole(split):
    """Return trunk and tail, to evaluate."""
    return nn.Sequential(split.trunk, split.tail).eval()


@torch.no_grad()
def logits(network, images):
    return network.eval()(images)


def same(found, expected):
    """Return the keys of equal tensors; keys must be the same."""
    assert found.keys() == expected.keys()
    return {key for key, w in expected.items() if torch.equal(found[key], w)}


@pytest.mark.parametrize(
    ("name", "trainable", "layers"),
    [
        ("resnet18", "all", []),
        ("resnet18", "layer4", ["conv1", "bn1", "layer1", "layer2", "layer3"]),
        ("resnet18", "head", ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]),
        ("resnet50", "layer4", ["conv1", "bn1", "layer1", "layer2", "layer3"]),
    ],
)
def test_trunk_and_tail_are_torchvisions_network(
    make_config, weights, images, name, trainable, layers
):
    state = weights(tiny_imagenette.state(name))
    reference = get_model(name)
    reference.load_state_dict(state)
    config = make_config(model=name, weights="some", trainable=trainable, **IMAGENET)
    split = make_model(config, 1000)
    assert split.fresh == []
    features = split.trunk(images)
    assert features.shape[1:] == trunk_output_shape(config)
    torch.testing.assert_close(logits(split.tail, features), logits(reference, images))
    # With names and order of torchvision's, in two parts.
    assert [*split.trunk.state_dict(), *split.tail.state_dict()] == [*state]
    assert sorted({key.partition(".")[0] for key in split.trunk.state_dict()}) == sorted(layers)


@pytest.mark.parametrize(
    ("num_stages", "trainable", "shapes"),
    [
        (4, "all", [(3, 32, 32), (3, 100, 100)]),
        (4, "layer4", [(256, 2, 2), (256, 7, 7)]),  # A sixteenth, rounded up.
        (4, "head", [(512,), (512,)]),
        (3, "all", [(3, 32, 32), (3, 100, 100)]),
        (3, "head", [(256,), (256,)]),
    ],
)
def test_the_shape_of_features_is_known_beforehand(make_config, num_stages, trainable, shapes):
    keys = {"num_stages": num_stages, "trainable": trainable, "weights": "some"}
    found = [trunk_output_shape(make_config(image_size=size, **keys)) for size in (32, 100)]
    assert found == shapes


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_three_stages_leave_layer4_out(make_config, weights, images, trainable):
    config = make_config(weights="some", num_stages=3, trainable=trainable)
    split = make_model(config, 10)
    reference = get_model("resnet18")
    reference.load_state_dict(tiny_imagenette.state())
    reference.layer4, reference.fc = nn.Identity(), split.tail.fc
    assert split.tail.fc.in_features == 256
    torch.testing.assert_close(logits(whole(split), images), logits(reference, images))
    keys = [*split.trunk.state_dict(), *split.tail.state_dict()]
    assert not any(key.startswith("layer4.") for key in keys)


def test_a_fresh_head_is_a_function_of_the_seed(make_config, weights):
    def head(**keys):
        config = make_config(weights="some", trainable="head", **keys)
        return make_model(config, 10).tail.state_dict()

    first, again, other = head(seed=1), head(seed=1), head(seed=2)
    assert same(first, again) == {"fc.weight", "fc.bias"}
    assert same(first, other) == set()
    # As PyTorch begins a linear layer.
    assert first["fc.weight"].shape == (10, 512)
    assert first["fc.weight"].abs().max() <= 512**-0.5


def test_without_weights_all_layers_are_a_function_of_the_seed(make_config):
    first, again, other = (
        make_model(make_config(seed=seed), 10).tail.state_dict() for seed in (1, 1, 2)
    )
    assert same(first, again) == first.keys()
    assert not any(".conv" in key or key == "fc.weight" for key in same(first, other))


def test_global_random_state_is_left_alone(make_config, weights):
    state = torch.get_rng_state()
    make_model(make_config(), 10)
    make_model(make_config(weights="some"), 10)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_kept_head_has_the_rows_of_imagenettes_classes(make_config, weights):
    tail = make_model(make_config(weights="some", head="keep", trainable="head"), 10).tail
    state = tiny_imagenette.state()
    rows = list(IMAGENET_CLASSES)
    assert rows == sorted(rows)
    assert torch.equal(tail.fc.weight, state["fc.weight"][rows])
    assert torch.equal(tail.fc.bias, state["fc.bias"][rows])


def test_a_kept_head_needs_the_classes_that_it_tells_apart(make_config, weights):
    config = make_config(weights="some", **IMAGENET)
    assert refusal(make_model, config, 12) == (
        "head='keep' is not allowed: the data must have the 1000 classes of the weights' head, "
        "but have 12."
    )


def test_a_kept_head_must_be_there(make_config, weights):
    state = dict(tiny_imagenette.state())
    del state["fc.weight"], state["fc.bias"]
    weights(state)
    assert refusal(make_model, make_config(weights="some", head="keep"), 10) == (
        "head='keep' is not allowed with weights='some': what is kept of the weights must be in "
        "them, but 2 of its tensors are not, 'fc.bias' the first."
    )


@pytest.mark.parametrize(("key", "value"), [("norm", "frozen_batch"), ("buffers", "keep")])
def test_statistics_that_stay_must_be_in_the_weights(make_config, weights, key, value):
    """Fresh ones, 0 and 1, would never become those of the images."""
    state = dict(tiny_imagenette.state())
    del state["layer4.1.bn2.running_mean"]
    weights(state)
    config = make_config(weights="some", **{key: value})
    assert refusal(make_model, config, 10) == (
        f"{key}={value!r} is not allowed with weights='some': what is kept of the weights must be "
        "in them, but 1 of its tensors are not, 'layer4.1.bn2.running_mean' the first."
    )
    make_model(make_config(weights="some", num_stages=3, **{key: value}), 10)  # There is no layer4.


def test_zero_shot_takes_the_whole_network(make_config, weights):
    state = dict(tiny_imagenette.state())
    del state["layer4.0.conv1.weight"]
    weights(state)
    sentence = refusal(make_model, make_config(weights="some", head="keep"), 10)
    assert "'layer4.0.conv1.weight' the first" in sentence


def test_clients_whose_batches_cannot_be_normalised_are_refused(make_config):
    """At 32 pixels layer4 ends with a single one."""
    sentence = refusal(require_normalisable, make_config(), [8, 1, 5])
    assert sentence == (
        "norm='batch' is not allowed with image_size=32 and a client that has a single image: it "
        "must be group or frozen_batch, for the last feature maps have a single pixel."
    )
    assert "batch_size=1" in refusal(require_normalisable, make_config(batch_size=1), [8, 8])
    for keys in ({"image_size": 64}, {"num_stages": 3}, {"norm": "group"}):
        require_normalisable(make_config(**keys), [8, 1, 0])
    require_normalisable(make_config(), [8, 0])


def test_a_fresh_head_does_not_look_at_the_weights_own(make_config, weights):
    """It may be one of any number of classes, and need not be there."""
    state = dict(tiny_imagenette.state())
    state["fc.weight"] = torch.full((7, 3), torch.nan)
    del state["fc.bias"]
    weights(state)
    split = make_model(make_config(weights="some"), 10)
    assert split.fresh == []
    assert split.tail.fc.weight.isfinite().all()


def test_tensors_that_weights_lack_begin_afresh_and_are_named(make_config, weights):
    state = tiny_imagenette.state()
    weights({key: w for key, w in state.items() if not key.startswith("layer4.")})
    split = make_model(make_config(weights="some", trainable="layer4", seed=3), 10)
    layer4 = {key for key in state if key.startswith("layer4.")}
    counters = {key for key in layer4 if key.endswith("num_batches_tracked")}
    assert split.fresh == sorted(layer4 - counters)
    untouched = make_model(make_config(seed=3), 10).tail.state_dict()
    found = split.tail.state_dict()
    assert all(torch.equal(found[key], untouched[key]) for key in layer4)
    assert same(split.trunk.state_dict(), {k: state[k] for k in split.trunk.state_dict()}) == {
        *split.trunk.state_dict()
    }


@pytest.mark.parametrize("trainable", ["layer4", "head"])
def test_layers_that_stay_frozen_must_be_in_the_weights(make_config, weights, trainable):
    state = dict(tiny_imagenette.state())
    del state["layer2.0.bn1.running_mean"], state["layer3.1.conv2.weight"]
    weights(state)
    config = make_config(weights="some", trainable=trainable)
    assert refusal(make_model, config, 10) == (
        f"trainable={trainable!r} is not allowed with weights='some': what is kept of the weights "
        "must be in them, but 2 of its tensors are not, 'layer2.0.bn1.running_mean' the first."
    )
    assert make_model(make_config(weights="some"), 10).fresh == [
        "layer2.0.bn1.running_mean",
        "layer3.1.conv2.weight",
    ]


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_weights_older_than_the_counters_of_batches_lack_nothing(make_config, weights, trainable):
    """PyTorch 0.4.1 brought num_batches_tracked; those that torchvision has are older."""
    state = tiny_imagenette.state()
    weights({key: w for key, w in state.items() if not key.endswith("num_batches_tracked")})
    split = make_model(make_config(weights="some", trainable=trainable), 10)
    assert split.fresh == []
    counter = {**split.trunk.state_dict(), **split.tail.state_dict()}["bn1.num_batches_tracked"]
    assert counter == 0


def test_parameters_and_buffers_are_told_apart(make_config):
    tail = make_tail(make_config(), 10)
    parameters = {key for key, _ in tail.named_parameters()}
    buffers = tail.state_dict().keys() - parameters
    assert {key.rpartition(".")[2] for key in parameters} == {"weight", "bias"}
    assert {key.rpartition(".")[2] for key in buffers} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert len(buffers) == 3 * 20
    assert sum(w.numel() for w in tail.parameters()) == 11_176_512 + 5_130


def test_group_norm_has_no_statistics_and_takes_the_scales_over(make_config, weights):
    split = make_model(make_config(weights="some", norm="group"), 10)
    state, found = tiny_imagenette.state(), split.tail.state_dict()
    kinds = [type(m) for m in split.tail.modules()]
    assert kinds.count(nn.GroupNorm) == 20
    assert nn.BatchNorm2d not in kinds
    assert [*split.tail.buffers()] == []
    assert {m.num_groups for m in split.tail.modules() if isinstance(m, nn.GroupNorm)} == {32}
    assert found.keys() < state.keys()
    assert all(torch.equal(w, state[key]) for key, w in found.items() if not key.startswith("fc."))


@pytest.mark.parametrize("trainable", ["all", "layer4"])
def test_a_frozen_batch_norm_is_batch_norm_that_only_evaluates(
    make_config, weights, images, trainable
):
    keys = {"weights": "some", "trainable": trainable, "seed": 2}
    usual = make_model(make_config(**keys), 10)
    frozen = make_model(make_config(**keys, norm="frozen_batch"), 10)
    expected = logits(whole(usual), images)
    torch.testing.assert_close(logits(whole(frozen), images), expected)
    # In training, too, where it trains neither scales nor shifts.
    torch.testing.assert_close(frozen.tail.train()(frozen.trunk(images)), expected)
    parameters = dict(frozen.tail.named_parameters())
    assert not any("bn" in key or "downsample.1" in key for key in parameters)
    lost = usual.tail.state_dict().keys() - frozen.tail.state_dict().keys()
    assert all(key.endswith("num_batches_tracked") for key in lost)


@pytest.mark.parametrize("norm", ["batch", "group", "frozen_batch"])
def test_clients_make_the_tail_that_the_server_has(make_config, weights, norm):
    config = make_config(weights="some", trainable="layer4", norm=norm)
    mine, split = make_tail(config, 10), make_model(config, 10)
    assert [*mine.state_dict()] == [*split.tail.state_dict()]
    assert [*dict(mine.named_parameters())] == [*dict(split.tail.named_parameters())]
    # The layers that stay frozen keep their BatchNorm, which does nothing else than evaluate.
    kinds = [type(layer) for layer in split.trunk.modules()]
    assert kinds.count(nn.BatchNorm2d) == 15


def test_training_changes_nothing_of_the_trunk(make_config, weights, images):
    """It is in evaluation mode, and stays so; nor are its statistics moved by what passes it."""
    split = make_model(make_config(weights="some", trainable="layer4"), 10)
    before = {key: w.clone() for key, w in split.trunk.state_dict().items()}
    assert not any(w.requires_grad for w in split.trunk.parameters())
    tail_before = {key: w.clone() for key, w in split.tail.state_dict().items()}
    work = LocalWork(1, 2, 0.1, 0.5, momentum=0.9)
    features = split.trunk(images).numpy()
    train_locally(split.tail, features, np.arange(4), work, np.random.default_rng(0))
    split.trunk(images)
    assert not split.trunk.training
    assert same(split.trunk.state_dict(), before) == before.keys()
    assert same(split.tail.state_dict(), tail_before) == set()
