"""The app of ``app/`` on our engine, with our client, or one that does nothing."""

from job import job_parser, to_job
from speed.client_app import app as client_app
from speed.server_app import app as server_app

from common.engine import run


def main() -> None:
    """Run the job of the command line."""
    parser = job_parser(__doc__)
    parser.add_argument("--engine", choices=["inline", "ray"], required=True)
    options = parser.parse_args()
    job = to_job(options)
    work = job.arrays.work
    run(
        server_app,
        client_app,
        job.app_config("flowerbed" if work.trains else "nothing"),
        num_clients=work.num_clients,
        clients_per_round=work.clients_per_round,
        engine=options.engine,
    )


if __name__ == "__main__":
    main()
