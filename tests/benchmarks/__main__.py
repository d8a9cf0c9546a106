"""The benchmark of Flowerbed against its peers: `make bench`, or `python tests/benchmarks`.

A full run takes about 40 minutes on 2 cores and rewrites docs/performance.md. With --only or
--quick, results go to .bench/ and the page stays.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "app"), str(HERE.parent / "support")]

from benchmark import EXTRAS, run_benchmark  # noqa: E402
from page import PAGE, RESULTS, write_page  # noqa: E402
from speed.work import WORKS  # noqa: E402


def main() -> int:
    """Run the command line and return its exit code: 1 if a system failed."""
    names = [work.name for work in WORKS] + list(EXTRAS)
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="one part; may be repeated")
    parser.add_argument("--repeats", type=int, default=3, help="how often each row is measured")
    parser.add_argument("--quick", action="store_true", help="tiny work, to test the harness")
    parser.add_argument("--page", action="store_true", help="only rewrite the page, from results")
    options = parser.parse_args()
    if options.page:
        if not RESULTS.is_file():
            parser.error(f"there are no results yet: {RESULTS} is not there")
        write_page(RESULTS, PAGE)
        return 0
    is_full = not (options.only or options.quick)
    folder = HERE.parents[1] / ".bench"
    results = RESULTS if is_full else folder / "results.json"
    failures = run_benchmark(
        folder, results, options.only or names, repeats=options.repeats, quick=options.quick
    )
    if is_full:
        write_page(RESULTS, PAGE)
    else:
        page = folder / "performance.md"
        page.write_text(PAGE.read_text())
        write_page(results, page)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
