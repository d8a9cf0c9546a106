"""What there is to compare: the earlier benchmark's table, what it lacks, and smaller versions."""

from typing import Final

from common.replication.definition import FigureOf

# Name of the arm that others are compared with.
FEDAVG: Final = "FedAvg"

_NEEDS_IMAGENET: Final = "it needs a GPU and the images of ImageNet, which were not at hand"

FIGURES: Final = {
    "imagenette_head": FigureOf(
        "Imagenette at 128 pixels, the head alone: the whole protocol",
        "Does α = 0.1 cost accuracy, does any μ win it back, and does federation help at all? "
        "10 clients, 20 rounds, E = 5, as the earlier benchmark; smaller than it in that 10 "
        "classes are told apart instead of 1000, and in that only a linear head is trained, on the "
        "features of layer3.",
        target=0.5,
        reference=FEDAVG,
        tail=1,
        statistics=("best", "tail_mean", "bytes_up"),
    ),
    "imagenette_head_long": FigureOf(
        "Imagenette, the head alone: 100 rounds, dynamic μ",
        "Do more rounds, or a μ that changes over them, make a difference? They were the earlier "
        "benchmark's future work.",
        target=0.8,
        reference=FEDAVG,
        statistics=("best", "last"),
    ),
    "imagenette_head_mean": FigureOf(
        "Imagenette, the head alone: weights of the mean",
        "The earlier benchmark counts every client alike, whatever its examples. What does it "
        "cost?",
        reference=FEDAVG,
        tail=1,
    ),
    "imagenette_layer4": FigureOf(
        "Imagenette at 64 pixels, layer4 and the head",
        "The same questions where a deep network is trained. Smaller than the earlier benchmark in "
        "that 10 classes are told apart, layer4 and the head are trained on frozen features, the "
        "3 x 3 convolutions of layer4 begin afresh, images have 64 pixels, and clients train 1 "
        "epoch in each of 5 rounds, in bfloat16. Three seeds.",
        target=0.5,
        reference=FEDAVG,
        tail=1,
        statistics=("best", "bytes_up"),
    ),
    "imagenette_full": FigureOf(
        "Imagenette at 128 pixels, all layers: the whole protocol",
        "The earlier benchmark on ten classes, for one GPU that four workers share.",
        target=0.5,
        reference=FEDAVG,
        tail=1,
        statistics=("best", "tail_mean", "bytes_up"),
        no_results="it needs a GPU",
    ),
    "published": FigureOf(
        "The earlier benchmark's table",
        "Its four cells, as it describes them: FedAvg and FedProx with μ = 0.01, at α = 0.1 and "
        "100, on the 50,000 validation images of ImageNet.",
        target=0.5,
        reference=FEDAVG,
        tail=1,
        statistics=("best", "tail_mean", "bytes_up"),
        no_results=_NEEDS_IMAGENET,
    ),
    "mu_grid": FigureOf(
        "The grid of μ, and the anchors, on ImageNet",
        "Which μ is best, and is any arm better than to leave the weights as they are?",
        target=0.5,
        reference=FEDAVG,
        tail=1,
        statistics=("best", "tail_mean", "bytes_up"),
        no_results=_NEEDS_IMAGENET,
    ),
    "long": FigureOf(
        "100 rounds and dynamic μ on ImageNet",
        "Do more rounds, or a μ that changes over them, make a difference?",
        target=0.5,
        reference=FEDAVG,
        statistics=("best", "last"),
        no_results=_NEEDS_IMAGENET,
    ),
}
