"""What there is to compare: the document's arms, all mixes, Reddi et al. 2021, smaller versions."""

from typing import Final

from common.replication.definition import FigureOf

# Name of the arm that others are compared with.
FEDAVG: Final = "FedAvg"

_SMALLER: Final = (
    "Smaller than the document in that the network has a quarter of the channels (703,386 "
    "parameters) and a round is 30 mini-batches of each client, in 20 rounds. Three seeds."
)

FIGURES: Final = {
    "cpu_grid": FigureOf(
        "Compression on a CPU: ResNet-18, width 16",
        f"What does accuracy cost in bytes that are really sent? {_SMALLER}",
        target=0.4,
        reference=FEDAVG,
        tail=3,
        statistics=("best", "bytes_up", "bytes_down"),
    ),
    "cpu_precision": FigureOf(
        "Mixed precision on a CPU: ResNet-18, width 16",
        "Is it the precision that cost accuracy in the document's FP16 arm, or what was changed "
        "beside it? As above, but 15 mini-batches of each client in 15 rounds, for a CPU computes "
        "float16 slowly.",
        reference="FedAvg, threshold 0.01, int8",
        tail=3,
    ),
    "cpu_afo": FigureOf(
        "Adaptive federated optimisation on a CPU: ResNet-18, width 16, GroupNorm",
        "Does it speed convergence? The protocol of Reddi et al. 2021, but with 100 clients, 20 "
        "rounds of their 4000, and a quarter of the channels. Three seeds.",
        target=0.2,
        reference=FEDAVG,
        tail=3,
        statistics=("best",),
    ),
    "cpu_pruning": FigureOf(
        "Model pruning on a CPU: ResNet-18, width 16",
        "What does a model of a fifth of the weights cost in accuracy, and save in bytes in both "
        f"directions? {_SMALLER}",
        target=0.4,
        reference=FEDAVG,
        tail=3,
        statistics=("bytes_up", "bytes_down"),
    ),
    "document": FigureOf(
        "The document's arms: ResNet-18",
        "The published table, with what its arms differ in taken apart, for a GPU.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "bytes_up"),
    ),
    "document_resnet50": FigureOf(
        "The document's arms: ResNet-50",
        "The same with its second network, for a GPU.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "bytes_up"),
    ),
    "grid": FigureOf(
        "The whole grid: ResNet-18",
        "Every mix of what is sent, with how many bits, with error feedback and without, under "
        "four servers, for a GPU.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "bytes_up"),
    ),
    "afo": FigureOf(
        "Adaptive federated optimisation: ResNet-18, GroupNorm",
        "Table 1 of Reddi et al. 2021, for a GPU: its accuracies are means of the last 100 rounds.",
        target=0.7,
        reference=FEDAVG,
        tail=100,
        statistics=("best",),
    ),
    "pruning": FigureOf(
        "Model pruning: ResNet-18",
        "All strategies at a fifth of the weights, for a GPU.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "bytes_up", "bytes_down"),
    ),
}
