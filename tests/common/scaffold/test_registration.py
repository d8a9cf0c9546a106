import pytest
from refusal import refusal

from common.scaffold.registration import register

BEFORE = """[tool.poetry]
packages = [ # Installed.
    { include = "common" },
    { include = "fedprox", from = "baselines/fedprox" },
]

[tool.mypy]
python_version = "3.11"
packages = [
    "common",
    "fedprox", # fedprox
    "template",
]
strict = true  # All of it.

[tool.other]
packages = [
    "c",
]
"""
AFTER = """[tool.poetry]
packages = [ # Installed.
    { include = "common" },
    { include = "fedprox", from = "baselines/fedprox" },
    { include = "my_method", from = "baselines/my_method" },
]

[tool.mypy]
python_version = "3.11"
packages = [
    "common",
    "fedprox", # fedprox
    "template",
    "my_method",
]
strict = true  # All of it.

[tool.other]
packages = [
    "c",
]
"""


def test_a_package_gets_its_two_lines_and_all_else_stays():
    assert register(BEFORE, "my_method") == AFTER
    assert (
        register(AFTER, "b")
        .replace('    "b",\n', "")
        .replace('    { include = "b", from = "baselines/b" },\n', "")
        == AFTER
    )


@pytest.mark.parametrize(
    "changed",
    [
        "",
        BEFORE.replace("mypy", "pytest"),
        BEFORE.replace("poetry", "pytest"),
        BEFORE.replace('from = "baselines/fedprox"', 'from = "src"'),
        BEFORE.replace('    "common",\n    "fedprox", # fedprox\n    "template",\n', '"common"'),
    ],
)
def test_a_file_that_lists_its_packages_otherwise_is_refused(changed):
    assert refusal(register, changed, "my_method").startswith("pyproject.toml is not allowed: ")
