"""The results that are kept in the repository, which figures, tables and verdicts are made of."""

from common.analysis.results import Results
from common.replication.definition import Replication


def load_stored(replication: Replication) -> dict[str, Results]:
    """Return the stored results of every experiment that has some, by its name.

    Raises:
        UserInputError: A file of results is damaged.
    """
    found = {name: Results.find(replication.results, name) for name in replication.figures}
    return {name: results for name, results in found.items() if results is not None}
