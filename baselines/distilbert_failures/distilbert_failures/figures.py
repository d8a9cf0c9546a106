"""What there is to compare: the earlier study's modes, and versions of them for a CPU."""

from typing import Final

from common.replication.definition import FigureOf

# Name of the arm that others are compared with.
FEDAVG: Final = "FedAvg"

_NEEDS_WEIGHTS: Final = "it needs DistilBERT's weights, which were not at hand"
_NEEDS_GPU: Final = "it needs a GPU, and DistilBERT's weights, which were not at hand"

_SMALLER: Final = (
    "Smaller than the study in that the encoder is MiniLM-L6, 6 rounds are run, about as many "
    "as its default, and clients train in bfloat16. Larger in that all 7,600 test texts count, and "
    "in three seeds, each with a partition and a head of its own."
)

FIGURES: Final = {
    "minilm_main": FigureOf(
        "Main comparison: IID and α = 0.1",
        f"Is FedProx better than FedAvg where clients have other topics? {_SMALLER}",
        target=0.8,
        reference=FEDAVG,
        tail=3,
        statistics=("best", "last", "bytes_up"),
    ),
    "minilm_failure": FigureOf(
        "Failure modes, for both algorithms",
        "What do α = 0.01, a learning rate of 1e-3 and ten clients change, at equal rounds? And "
        f"ten clients at equal steps, which they come to in twice the rounds of five? {_SMALLER}",
        target=0.8,
        reference=FEDAVG,
        tail=3,
        statistics=("best", "last", "bytes_up"),
    ),
    "quick": FigureOf(
        "The study's quick mode",
        "Its three arms, and FedProx on IID data, in 5 rounds.",
        reference=FEDAVG,
        tail=1,
        no_results=_NEEDS_WEIGHTS,
    ),
    "main": FigureOf(
        "The study's main mode",
        "Its four arms with DistilBERT, in 50 rounds, for one GPU that four workers share; they "
        "train in bfloat16.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "last", "bytes_up"),
        no_results=_NEEDS_GPU,
    ),
    "failure": FigureOf(
        "The study's failure mode",
        "Its failure modes with DistilBERT, for both algorithms, in 50 rounds as the arms that "
        "they are compared with.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "last", "bytes_up"),
        no_results=_NEEDS_GPU,
    ),
    "lora": FigureOf(
        "LoRA and how it is averaged",
        "Does it matter that A and B are averaged apart? Divergence and cosine are of A, B and the "
        "head, and not of what the adapters add, B A.",
        reference="FedAvg, LoRA, naive",
        statistics=("bytes_up", "bytes_down"),
        no_results=_NEEDS_WEIGHTS,
    ),
    "scaffold": FigureOf(
        "FedAvg, FedProx and SCAFFOLD, with SGD",
        "Is SCAFFOLD better where it is what it was made to be, a correction of gradients?",
        target=0.8,
        reference="FedAvg, SGD",
        statistics=("best", "bytes_up"),
    ),
}
