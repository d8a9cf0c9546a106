"""2,000 rounds in one process, and what they left: `make soak`, or `python tests/soak`.

Takes about two minutes on 2 quiet cores; rewrites docs/faults/soak.json and its table on the page.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from soak import EXPERIMENT, Soak, run_soak

from common.analysis.generated_parts import replace_part
from common.analysis.tables import markdown_table
from common.experiment.environment import describe_environment

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = DOCS / "faults.md"
RESULTS: Final = DOCS / "faults" / "soak.json"
PROCESSES: Final = ("the server", "worker 1", "worker 2")
HUNDRED: Final = 100


def summarise(soak: Soak, num_rounds: int) -> dict[str, Any]:
    """Return memory, files and times of an early and of the last hundred rounds.

    In the first hundred the processes still load what they need: memory is compared with that of
    the second hundred.
    """
    first, second = range(2, HUNDRED + 2), range(HUNDRED + 1, 2 * HUNDRED + 1)
    last = range(num_rounds - HUNDRED + 1, num_rounds + 1)
    return {
        "command": " ".join(["python -m fedprox.main", *EXPERIMENT, f"num_rounds={num_rounds}"]),
        "environment": describe_environment("ray"),
        "memory_mb": {
            name: [soak.memory(process, rounds) / 1e6 for rounds in (second, last)]
            for process, name in enumerate(PROCESSES)
        },
        "files": {
            name: [soak.files(process, rounds) for rounds in (second, last)]
            for process, name in enumerate(PROCESSES)
        },
        "milliseconds": [1000 * soak.median_seconds(rounds) for rounds in (first, last)],
    }


def table(results: dict[str, Any]) -> str:
    """Return the page's part: the command, the machine and the table."""
    rows = [
        *(
            [f"resident memory of {name}, MB", f"{early:.1f}", f"{late:.1f}"]
            for name, (early, late) in results["memory_mb"].items()
        ),
        *(
            [f"open files of {name}", f"{early:.1f}", f"{late:.1f}"]
            for name, (early, late) in results["files"].items()
        ),
        ["median time of a round, ms", *(f"{value:.2f}" for value in results["milliseconds"])],
    ]
    environment = results["environment"]
    return "\n\n".join(
        [
            f"```console\n$ {results['command']}\n```",
            f"{environment['cpus']} cores of {environment['processor']}, commit "
            f"`{environment['commit'][:7]}`. Memory and files are means over the rounds.",
            markdown_table(["", "second hundred rounds (times: first)", "last hundred"], rows),
        ]
    )


def main() -> None:
    """Run, store and show."""
    parser = argparse.ArgumentParser(prog="python tests/soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="at least 200")
    num_rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        results = summarise(run_soak(num_rounds, Path(folder) / "run"), num_rounds)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    PAGE.write_text(replace_part(PAGE.read_text(), "soak", table(results)))
    print(table(results))


if __name__ == "__main__":
    main()
