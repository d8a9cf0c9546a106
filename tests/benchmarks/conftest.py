"""The harness is a folder of scripts, and its app a folder of its own: make both importable."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "app")]
