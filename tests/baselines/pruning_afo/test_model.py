from functools import partial

import pytest
import torch
from pruning_afo.model import build_resnet, make_model
from torch import nn
from torchvision.models import get_model

PARAMETERS = {"resnet18": 11_181_642, "resnet50": 23_528_522}
both = pytest.mark.parametrize("name", PARAMETERS)


def seeded(make, *arguments, **keys):
    """Return what is made, its weights drawn after torch.manual_seed(0)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*arguments, **keys)


def build(model="resnet18", width=64, stem="imagenet", norm="batch", num_classes=10):
    return seeded(build_resnet, model, width, stem, norm, num_classes)


@pytest.fixture(scope="module")
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def assert_same_network(network, reference, images):
    """Names, order, shapes; and with the same weights the same outputs, in training and not."""
    found, expected = network.state_dict(), reference.state_dict()
    assert {key: w.shape for key, w in found.items()} == {k: w.shape for k, w in expected.items()}
    assert list(found) == list(expected)
    assert [name for name, _ in network.named_parameters()] == [
        name for name, _ in reference.named_parameters()
    ]
    for w in expected.values():  # Statistics that are not 0 and 1.
        if w.dim() == 1:
            w.uniform_(0.5, 1.5)
    network.load_state_dict(expected)
    for train in (False, True):
        torch.testing.assert_close(network.train(train)(images), reference.train(train)(images))
    torch.testing.assert_close(network.state_dict(), reference.state_dict())


@both
def test_it_is_torchvisions_network(name, images):
    network = build(name)
    assert sum(w.numel() for w in network.parameters()) == PARAMETERS[name]
    assert_same_network(network, seeded(get_model, name, num_classes=10), images)


@both
def test_initial_weights_are_drawn_as_torchvision_draws_them(name):
    """Even the same ones, of the same generator."""
    expected = seeded(get_model, name, num_classes=10).state_dict()
    for key, w in build(name).state_dict().items():
        assert torch.equal(w, expected[key]), key


def test_group_norm_takes_the_place_of_batch_norm(images):
    network = build(norm="group")
    reference = seeded(get_model, "resnet18", num_classes=10, norm_layer=partial(nn.GroupNorm, 32))
    assert_same_network(network, reference, images)
    assert not list(network.buffers())
    assert sum(w.numel() for w in network.parameters()) == PARAMETERS["resnet18"]


@pytest.mark.parametrize(
    ("width", "groups"), [(1, [1, 1, 2, 4]), (2, [1, 2, 4, 8]), (16, [8, 16, 32, 32])]
)
def test_narrow_layers_have_groups_of_two_channels(width, groups):
    norms = [m for m in build(width=width, norm="group").modules() if isinstance(m, nn.GroupNorm)]
    assert {norm.num_channels: norm.num_groups for norm in norms} == {
        width * 2**stage: number for stage, number in enumerate(groups)
    }


@pytest.mark.parametrize(("stem", "size"), [("imagenet", 1), ("cifar", 4)])
def test_a_cifar_stem_keeps_the_resolution(stem, size, images):
    """Each of the three further stages halves it."""
    network = build(width=4, stem=stem)
    seen = []
    network.layer4.register_forward_hook(lambda module, x, y: seen.append(y.shape))
    network(images)
    assert seen == [(4, 32, size, size)]
    assert ("maxpool" in dict(network.named_children())) == (stem == "imagenet")


def test_a_cifar_stem_is_a_convolution_of_3_by_3_without_stride():
    network = build(stem="cifar")
    assert network.conv1.weight.shape == (64, 3, 3, 3)
    assert (network.conv1.stride, network.conv1.padding) == ((1, 1), (1, 1))
    assert network.conv1.bias is None
    # 7 x 7 filters had 3 x 40 weights more for each of the channels.
    count = sum(w.numel() for w in network.parameters())
    assert count == PARAMETERS["resnet18"] - 64 * 3 * 40
    # Otherwise tensors are the same.
    assert list(network.state_dict()) == list(build().state_dict())


@both
def test_width_scales_every_layer(name):
    wide, narrow = (
        dict(build(name, width=width, num_classes=7).named_parameters()) for width in (16, 4)
    )
    assert wide.keys() == narrow.keys()
    for key, w in wide.items():
        outputs, *rest = narrow[key].shape
        assert w.shape[0] == (7 if key.startswith("fc.") else 4 * outputs), key
        if rest:
            inputs, *kernel = rest
            assert w.shape[1] == (3 if key == "conv1.weight" else 4 * inputs), key
            assert [*w.shape[2:]] == kernel, key


def test_the_network_of_the_runs_on_a_cpu():
    assert sum(w.numel() for w in build(width=16).parameters()) == 703_386


def test_initial_weights_are_a_function_of_the_seed(make_config):
    def state(**keys):
        return make_model(make_config(**keys), 10).state_dict()

    first, again, other = state(seed=1), state(seed=1), state(seed=2)
    weights = [key for key, w in first.items() if w.dim() > 1]
    for key in weights:
        assert torch.equal(first[key], again[key])
        assert not torch.equal(first[key], other[key])


def test_keys_reach_the_network(make_config):
    keys = {"model": "resnet50", "width": 3, "stem": "cifar", "norm": "group"}
    state = make_model(make_config(**keys), 5).state_dict()
    expected = build("resnet50", 3, "cifar", "group", 5).state_dict()
    assert {key: w.shape for key, w in state.items()} == {k: w.shape for k, w in expected.items()}


def test_torchs_generator_is_left_as_it_was(make_config):
    before = torch.random.get_rng_state()
    make_model(make_config(), 10)
    assert torch.equal(torch.random.get_rng_state(), before)
