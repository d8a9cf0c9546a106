"""What there is to compare: the document's arms, all mixes, Reddi et al. 2021, smaller versions."""

from typing import Final

from common.replication.definition import FigureOf

# Name of the arm that others are compared with.
FEDAVG: Final = "FedAvg"

_NEEDS_GPU: Final = "it needs a GPU"

_SMALLER: Final = (
    "Smaller than the document in that the network has a quarter of the channels (703,386 "
    "parameters) and a round is 30 mini-batches of each client, in 20 rounds. Three seeds."
)

FIGURES: Final = {
    "cpu_grid": FigureOf(
        "Compression on a CPU: ResNet-18, width 16",
        f"What does accuracy cost in bytes that are really sent? {_SMALLER}",
        target=0.35,
        reference=FEDAVG,
        tail=3,
        statistics=("best", "bytes_up", "bytes_down"),
    ),
    "cpu_precision": FigureOf(
        "Mixed precision on a CPU: ResNet-18, width 8",
        "Is it the precision that cost accuracy in the document's FP16 arm, or what was changed "
        "beside it? An eighth of the channels, 15 mini-batches of each client in 15 rounds, for a "
        "CPU computes float16 slowly. Three seeds.",
        reference=FEDAVG,
        tail=3,
    ),
    "cpu_afo": FigureOf(
        "Adaptive federated optimisation where clients differ, on a CPU: ResNet-18, width 16",
        "Does it speed convergence where clients have other mixes of labels? 4 of 20 clients a "
        "round, and the rates of Reddi et al. 2021 at the server; otherwise as `cpu_grid`, with "
        "BatchNorm. Three seeds.",
        target=0.25,
        reference=FEDAVG,
        tail=3,
        statistics=("best",),
        no_results="all arms of three seeds ended near chance, which tells nothing of any",
    ),
    "cpu_pruning": FigureOf(
        "Model pruning on a CPU: ResNet-18, width 16",
        "What does a model of a fifth of the weights cost in accuracy, and save in bytes in both "
        f"directions? {_SMALLER}",
        target=0.35,
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
        no_results=_NEEDS_GPU,
    ),
    "document_resnet50": FigureOf(
        "The document's arms: ResNet-50",
        "The same with its second network, for a GPU.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "bytes_up"),
        no_results=_NEEDS_GPU,
    ),
    "grid": FigureOf(
        "The whole grid: ResNet-18",
        "Every mix of what is sent, with how many bits, with error feedback and without, under "
        "four servers, for a GPU.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "bytes_up"),
        no_results=_NEEDS_GPU,
    ),
    "compressors": FigureOf(
        "Every compressor: ResNet-18",
        "What the grid leaves out, for a GPU: one bit, stochastic rounding, a scale for each row, "
        "random-k, top-k of all tensors, Deep Gradient Compression.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "bytes_up"),
        no_results=_NEEDS_GPU,
    ),
    "afo": FigureOf(
        "Adaptive federated optimisation: ResNet-18, GroupNorm",
        "Table 1 of Reddi et al. 2021, for a GPU: its accuracies are means of the last 100 rounds.",
        target=0.7,
        reference=FEDAVG,
        tail=100,
        statistics=("best",),
        no_results=_NEEDS_GPU,
    ),
    "pruning": FigureOf(
        "Model pruning: ResNet-18",
        "All strategies at a fifth of the weights, for a GPU.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "bytes_up", "bytes_down"),
        no_results=_NEEDS_GPU,
    ),
}
