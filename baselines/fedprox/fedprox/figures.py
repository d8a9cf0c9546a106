"""The figures of the paper, and what else there is to compare: title and source of each."""

from typing import Final

from common.replication.definition import FigureOf

FIGURES: Final = {
    "demo": FigureOf(
        "Figures 1 and 7, Synthetic(1, 1), one seed",
        "What do stragglers cost, and what does FedProx win back? In a minute, without data.",
    ),
    "figure1_synthetic": FigureOf(
        "Figures 1 and 7, Synthetic(1, 1)",
        "What do stragglers cost, and what do partial work (μ = 0) and the proximal term (μ = 1) "
        "win back?",
    ),
    "figure1_mnist": FigureOf(
        "Figures 1 and 7, MNIST", "The same on MNIST, 1000 clients with two digits each."
    ),
    "figure1_femnist": FigureOf(
        "Figures 1 and 7, FEMNIST",
        "The same on FEMNIST, 200 clients with five letters each.",
        no_results="the data set was not at hand",
    ),
    "figure2": FigureOf(
        "Figures 2 and 6: statistical heterogeneity",
        "Does the proximal term help where clients' data differ, and does the dissimilarity of "
        "their gradients tell where? No stragglers, so μ = 0 is FedAvg.",
    ),
    "figure3": FigureOf(
        "Figures 3 and 11: adaptive μ",
        "Does the heuristic find its way to the best μ, also from the adverse start?",
    ),
    "figure5": FigureOf(
        "Figure 5: IID data with stragglers", "Does it matter that stragglers are dropped there?"
    ),
    "figure9_synthetic": FigureOf(
        "Figures 9 and 10: one local epoch, Synthetic(1, 1)",
        "What is left of the differences at E = 1? Stragglers do some mini-batches of the epoch.",
    ),
    "figure9_mnist": FigureOf("Figures 9 and 10: one local epoch, MNIST", "The same on MNIST."),
    "mu_grid_synthetic": FigureOf(
        "The grid of μ, Synthetic(1, 1)", "Which μ is best at 90 % stragglers?"
    ),
    "mu_grid_mnist": FigureOf("The grid of μ, MNIST", "Which μ is best at 90 % stragglers?"),
    "flower_mnist": FigureOf(
        "Flower's FedProx baseline: E = 10, μ = 2, MNIST",
        "Do the curves of that baseline's figure come out of the paper's definitions?",
    ),
    "normalisation": FigureOf(
        "MNIST's pixels, standardised one by one or alike", "How much hangs on it?"
    ),
    "alpha_only": FigureOf(
        "Synthetic(0, 0) and Synthetic(1, 0)", "Does alpha make the clients' models differ?"
    ),
    "cnn_iid": FigureOf(
        "The CNN, IID MNIST", "How many rounds to 99 %? McMahan et al. (2017) need 20.", 0.99
    ),
    "cnn_shards": FigureOf(
        "The CNN, MNIST in two shards a client",
        "How many rounds to 99 %? McMahan et al. (2017) need 229.",
        0.99,
        no_results="five seeds of 300 rounds take a CPU core some 19 hours",
    ),
}
