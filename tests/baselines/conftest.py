"""What the tests of every baseline have in common."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """As in a run; two test processes of two threads each wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cwd(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def finished(make_config, run, tmp_path):
    """Runs an experiment and returns its folder; the configuration differs in these keys."""

    def finished(name="run", clients=None, **changes):
        run(make_config(output_dir=str(tmp_path / name), **changes), clients)
        return tmp_path / name

    return finished
