"""The app of ``app/`` with ``flwr run``, on Flower's own simulation engine: one CPU a client."""

import sys
from pathlib import Path

from job import job_parser, to_job

from common.engine.flwr_run import flwr_run
from common.engine.superlink import SuperLink

APP = Path(__file__).parent / "app"


def main() -> int:
    """Run the job of the command line; returns the exit code of the run."""
    parser = job_parser(__doc__)
    parser.add_argument(
        "--client", choices=["flowerbed", "data_loader", "nothing"], default="data_loader"
    )
    options = parser.parse_args()
    job = to_job(options)
    config = job.app_config(options.client)
    with SuperLink() as superlink:
        return flwr_run(APP, config, job.arrays.work.num_clients, superlink=superlink, num_cpus=1)


if __name__ == "__main__":
    sys.exit(main())
