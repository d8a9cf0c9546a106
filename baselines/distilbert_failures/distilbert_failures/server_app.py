"""The server: rounds of FedAvg, FedProx or SCAFFOLD, the global model evaluated after each."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.arrays import to_arrays
from common.engine import nodes_by_partition
from common.experiment.federate import federate
from common.experiment.machine import check_machine
from common.experiment.say import say
from common.partition import label_counts
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.dataset import FederatedTexts, load_dataset
from distilbert_failures.encoder import fingerprint
from distilbert_failures.evaluation import Evaluator, weighted_total_variation
from distilbert_failures.failure_detector import FailureDetector
from distilbert_failures.lora import travelling_state
from distilbert_failures.model import make_tail, require_fit
from distilbert_failures.strategy import make_strategy
from distilbert_failures.text_scores import NUM_QUARTILES

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configured experiment."""
    config = DistilBertConfig.from_run_config(context.run_config)
    check_machine(config)
    require_fit(config)  # Refused before texts are read.
    data = load_dataset(config)
    model = make_tail(config, data.num_classes)
    _tell(config, data)
    num_examples: list[int] = data.partition.sizes.tolist()
    nodes = nodes_by_partition(grid, num_examples)
    strategy = make_strategy(config, nodes, num_examples, model)
    initial_arrays = to_arrays(travelling_state(model))
    evaluator = Evaluator(config, model, data)
    detector = FailureDetector.of(config.failure, data.num_classes)
    weights = fingerprint(config.encoder)
    federate(grid, strategy, config, initial_arrays, evaluator, weights, detector)


def _tell(config: DistilBertConfig, data: FederatedTexts) -> None:
    """Say what has become of the texts, and how skewed the partition turned out."""
    for name, split in (("training", data.train), ("test", data.test)):
        tokens = split.tokens
        if tokens.num_truncated:
            say(
                f"{tokens.num_truncated:,} of {len(tokens):,} {name} texts were cut to "
                f"max_length={config.max_length} tokens."
            )
        if tokens.num_empty:
            say(f"{tokens.num_empty:,} of {len(tokens):,} {name} texts are empty.")
    scores = ""
    if data.score_quartiles is not None:
        counts = label_counts(data.partition, data.score_quartiles, NUM_QUARTILES)
        scores = f" and {weighted_total_variation(counts):.2f} of their quarters by that score"
    alpha = f", alpha {config.dirichlet_alpha:g}" if config.partition.startswith("dir") else ""
    say(
        f"partition={config.partition}{alpha}: total variation of the clients' labels to those of "
        f"all {weighted_total_variation(data.label_counts):.2f}{scores} (0 the same, 1 disjoint)."
    )
