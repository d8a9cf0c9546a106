import pytest

from common.errors import UserInputError
from common.experiment.foreign_files import refuse_foreign_files


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "fedavg.yaml").touch()
    return tmp_path


@pytest.mark.parametrize(
    "command_line",
    [
        "--config-dir /tmp",
        "--config-dir=/tmp",
        "--config-d /tmp",
        "-cd /tmp",
        "--config-path=/tmp",
        "-cp /tmp",
        "--experimental-rerun x.pickle",
        "--exp x.pickle",
        "hydra.searchpath=[file:///tmp]",
        "+hydra.searchpath=[pkg://other]",
        "+experiment=../evil",
        "+experiment=./../evil",
        "+experiment=/tmp/evil",
        "+experiment@_global_=../evil",
        "experiment=synthetic,../evil",
        "+experiment=[synthetic,/tmp/evil]",
        "+experiment='/tmp/evil'",
        "hydra/job_logging=../evil",
        "+hydra/launcher=/tmp/evil",
        "--config-name ../evil",
        "--config-name=/tmp/evil",
        "--config-n ../evil",
        "-cn ../evil",
        "-cn../evil",
    ],
)
def test_a_file_from_elsewhere_is_refused(conf, command_line):
    with pytest.raises(UserInputError, match="configuration files must be those in conf/"):
        refuse_foreign_files(["mu=1.0", *command_line.split(), "seed=1"], conf)


@pytest.mark.parametrize(
    "command_line",
    [
        "",
        "+experiment=synthetic --multirun mu=0.0,1.0",
        "+experiment=figure_1/mnist",
        "--config-name fedavg",
        "-cn fedavg output_dir=../elsewhere",
        "output_dir=/tmp/run ray_address=auto",
        "--cfg job --resolve",
        "hydra.sweep.dir=/tmp/sweep hydra/job_logging=none",
        "resume=../run",
    ],
)
def test_a_baselines_own_files_and_folders_anywhere_are_fine(conf, command_line):
    refuse_foreign_files(command_line.split(), conf)
