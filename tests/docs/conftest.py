"""What the tests of the documentation use."""

import os
import sys
from pathlib import Path

import pytest
from browser import CHROMEDRIVER, CHROMIUM, chromium

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_extensions"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Debian's chromium; a test is skipped without it, but not in CI, which would test nothing."""
    missing = [str(file) for file in (CHROMIUM, CHROMEDRIVER) if not file.exists()]
    if missing:
        end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end(f"there is no {' and no '.join(missing)}: install chromium and chromium-driver")
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver
