import pickle

import pytest
import torch
from imagenet_resnet.weights import fill, find_weights, fingerprint, load_weights
from refusal import refusal
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model


@pytest.fixture
def cwd(tmp_path, monkeypatch):
    """An empty current folder, and no data folder."""
    monkeypatch.delenv("FLOWERBED_DATA", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "cwd"


@pytest.fixture
def small():
    """Returns a small network with convolution, BatchNorm and head; its weights are drawn."""

    def small(seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.ModuleDict(
                {"conv1": nn.Conv2d(1, 2, 3), "bn1": nn.BatchNorm2d(2), "fc": nn.Linear(2, 5)}
            )

    return small


def test_a_name_of_torchvisions_is_no_file(cwd):
    assert find_weights("IMAGENET1K_V1", "resnet18") is None
    assert find_weights("IMAGENET1K_V2", "resnet50") is None
    assert fingerprint("IMAGENET1K_V1", "resnet18") == "IMAGENET1K_V1"


def test_weights_that_torchvision_has_not_are_refused(cwd, monkeypatch):
    """resnet18 has one version, resnet50 two."""
    assert refusal(find_weights, "IMAGENET1K_V2", "resnet18") == (
        "weights='IMAGENET1K_V2' is not allowed: it must be none, one of IMAGENET1K_V1 or a file, "
        "here or in $FLOWERBED_DATA/weights (FLOWERBED_DATA is not set)."
    )
    monkeypatch.setenv("FLOWERBED_DATA", "/data")
    assert refusal(find_weights, "w.pth", "resnet50").endswith(
        "it must be none, one of IMAGENET1K_V1, IMAGENET1K_V2 or a file, here or in "
        "$FLOWERBED_DATA/weights (FLOWERBED_DATA is '/data')."
    )


@pytest.mark.parametrize("name", ["", "no\0file", "a" * 5000, "~nobody/w.pth", ".", "/"])
def test_what_can_be_no_file_is_refused(cwd, name):
    assert refusal(find_weights, name, "resnet18").startswith(f"weights={name!r} is not allowed: ")


def test_a_file_is_looked_for_here_and_then_among_the_data(cwd, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path / "data"))
    among_data = tmp_path / "data" / "weights" / "w.pth"
    among_data.parent.mkdir(parents=True)
    among_data.write_bytes(b"data")
    assert find_weights("w.pth", "resnet18").samefile(among_data)
    (cwd / "w.pth").write_bytes(b"here")
    assert find_weights("w.pth", "resnet18").samefile(cwd / "w.pth")
    assert find_weights(str(among_data), "resnet18").samefile(among_data)


def test_a_file_below_the_home_folder_is_found(cwd, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pth").touch()
    assert find_weights("~/w.pth", "resnet18") == tmp_path / "w.pth"


def test_a_fingerprint_is_of_the_content(cwd):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (cwd / name).write_bytes(content)
    a, b, c = (fingerprint(name, "resnet18") for name in "abc")
    assert a == b != c
    assert a.isalnum()


@pytest.mark.parametrize(
    ("name", "save"), [("w.pth", torch.save), ("w.pt", torch.save), ("w.safetensors", save_file)]
)
def test_tensors_come_back_from_either_format(cwd, small, name, save):
    state = small().state_dict()
    save(state, cwd / name)
    found = load_weights(name, "resnet18")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], w) for key, w in state.items())


class Evil:
    def __reduce__(self):
        return (print, ("code of the file was run",))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x02.", b"PK\x03\x04" + bytes(99)])
def test_a_damaged_file_is_refused(cwd, name, content):
    (cwd / name).write_bytes(content)
    message = refusal(load_weights, name, "resnet18")
    assert message.startswith(
        f"weights='{name}' is not allowed: it must be possible for them to be read as a state "
        "dict of tensors ("
    )
    assert message.isprintable()
    assert "weights_only" not in message  # PyTorch advises to run what the file says.


@pytest.mark.parametrize(("name", "save"), [("w.pth", torch.save), ("w.safetensors", save_file)])
def test_a_file_that_was_cut_off_is_refused(cwd, small, name, save):
    save(small().state_dict(), cwd / name)
    whole = (cwd / name).read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        (cwd / name).write_bytes(whole[:length])
        assert "read as a state dict of tensors" in refusal(load_weights, name, "resnet18")


def test_no_code_of_a_file_is_run(cwd, capfd):
    torch.save({"conv1.weight": Evil()}, cwd / "torch.pth")
    (cwd / "plain.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("torch.pth", "plain.pth"):
        assert "read as a state dict of tensors" in refusal(load_weights, name, "resnet18")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [torch.zeros(3)],
        {"state_dict": {"conv1.weight": torch.zeros(3)}},
        {"conv1.weight": [1.0, 2.0]},
        {1: torch.zeros(3)},
    ],
    ids=["tensor", "list", "nested", "numbers", "without names"],
)
def test_a_file_of_something_else_is_refused(cwd, content):
    torch.save(content, cwd / "w.pth")
    assert refusal(load_weights, "w.pth", "resnet18") == (
        "weights='w.pth' is not allowed: it must hold a state dict, tensors by name."
    )


def test_what_cannot_be_downloaded_is_refused(cwd, monkeypatch):
    def fail(url, **how):
        raise OSError("<urlopen error [Errno -2] Name or service not known>\nmore")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    assert refusal(load_weights, "IMAGENET1K_V1", "resnet18") == (
        "weights='IMAGENET1K_V1' is not allowed: it must be possible for them to be downloaded "
        "(OSError: <urlopen error [Errno -2] Name or service not known>)."
    )


def test_what_is_downloaded_is_torchvisions_file_and_its_hash_is_checked(cwd, monkeypatch):
    asked = {}

    def download(url, **how):
        asked.update(url=url, **how)
        return {"conv1.weight": torch.ones(2)}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    assert load_weights("IMAGENET1K_V1", "resnet18").keys() == {"conv1.weight"}
    assert asked["url"] == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert asked["check_hash"] is True


def test_a_network_is_filled_with_what_there_is(small):
    network, state = small(0), small(1).state_dict()
    before = {key: w.clone() for key, w in network.state_dict().items()}
    state["bn1.running_mean"] = torch.ones(2)
    del state["bn1.bias"], state["conv1.bias"]
    assert fill(network, state, "w.pth") == ["bn1.bias", "conv1.bias"]
    for key, w in network.state_dict().items():
        assert torch.equal(w, state.get(key, before[key])), key
    assert all(w.requires_grad for w in network.parameters())


def test_tensors_that_are_ignored_are_neither_taken_nor_missed(small):
    network, state = small(0), small(1).state_dict()
    head = network["fc"].weight.detach().clone()
    state |= {"fc.weight": torch.full((1000, 2), torch.nan), "fc.more": torch.zeros(1)}
    del state["fc.bias"]
    assert fill(network, state, "w.pth", ignored="fc.") == []
    assert torch.equal(network["fc"].weight, head)


def test_weights_of_half_precision_are_taken(small):
    network, state = small(0), small(1).half().state_dict()
    assert fill(network, state, "w.pth") == []
    assert network["conv1"].weight.dtype == torch.float32
    assert torch.equal(network["conv1"].weight, state["conv1.weight"].float())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("key", ["conv1.weight", "bn1.running_var"])
def test_a_number_that_is_not_finite_is_refused(small, key, bad):
    state = small(1).state_dict()
    state[key].view(-1)[-1] = bad
    assert refusal(fill, small(0), state, "w.pth") == (
        "weights='w.pth' is not allowed: it must be weights of the configured model, but its "
        f"{key!r} holds a number that is not finite."
    )


def test_weights_of_another_network_are_refused():
    with torch.device("meta"):
        resnet18, resnet50 = get_model("resnet18"), get_model("resnet50")
    allowed = "weights='w.pth' is not allowed: it must be weights of the configured model, but its "
    assert refusal(
        fill, resnet18, {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}, "w.pth"
    ) == (f"{allowed}'layer1.0.conv1.weight' has shape [64, 64, 1, 1], not [64, 64, 3, 3].")
    assert refusal(fill, resnet18, {"layer1.0.bn3.bias": torch.zeros(256)}, "w.pth") == (
        f"{allowed}'layer1.0.bn3.bias' is not a tensor of this network."
    )
    assert refusal(fill, resnet50, {"layer1.2.conv1.bias" * 99: torch.zeros(1)}, "w.pth").endswith(
        "is not a tensor of this network."
    )
    of_other_classes = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    assert refusal(fill, resnet18, of_other_classes, "w.pth") == (
        f"{allowed}'fc.weight' has shape [10, 512], not [1000, 512]."
    )
