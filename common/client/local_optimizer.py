"""Steps of a client on its proximal objective h(w) = F_k(w) + mu/2 ||w - w_global||^2, in place.

The objective is equation 2 of Li et al. 2020 (arXiv 1812.06127).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from common.client.work import LocalWork


class Optimizer(Protocol):
    """What a client steps with; it begins anew in every round."""

    def step(self, gradient: list[Tensor]) -> None:
        """Make a step.

        Args:
            gradient: g, of F_k at w: a tensor for each parameter, of its shape. It may be
                overwritten.
        """


class Sgd:
    """SGD: v <- m v + grad h(w), w <- w - eta v.

    grad h(w) is g + weight_decay w + mu (w - w_global); at a weight decay of 0 none is computed.
    Without momentum, w - eta (g + mu (w - w_global)) is lerp(w, w_global, eta mu) - eta g: two
    passes over w instead of three, and no difference w - w_global in memory. At mu = 0 no proximal
    term is computed, which makes FedProx there FedAvg to the last bit.

    Args:
        w: Parameters, of any shapes.
        w_global: Where the round started, in the shapes of ``w``.
        work: Has eta, mu, the momentum m and the weight decay.
    """

    def __init__(self, w: Sequence[Tensor], w_global: Sequence[Tensor], work: LocalWork) -> None:
        self._w = list(w)
        self._w_global = list(w_global)
        self._work = work
        self._v = [torch.zeros_like(w_i) for w_i in w] if work.momentum != 0 else []

    @torch.no_grad()
    def step(self, gradient: list[Tensor]) -> None:
        """Make a step, as documented for an optimiser."""
        eta, mu = self._work.learning_rate, self._work.mu
        if self._work.weight_decay != 0:
            torch._foreach_add_(gradient, self._w, alpha=self._work.weight_decay)
        if self._work.momentum == 0:
            if mu != 0:
                torch._foreach_lerp_(self._w, self._w_global, eta * mu)
            torch._foreach_add_(self._w, gradient, alpha=-eta)
            return
        torch._foreach_mul_(self._v, self._work.momentum)
        torch._foreach_add_(self._v, gradient)
        if mu != 0:
            _add_proximal_gradient(self._v, self._w, self._w_global, mu)
        torch._foreach_add_(self._w, self._v, alpha=-eta)


class AdamW:
    """PyTorch's AdamW, with the proximal term in its gradient or decoupled from it.

    AdamW is algorithm 2 of Loshchilov & Hutter 2019 (arXiv 1711.05101).

    Args:
        w: Parameters, of any shapes.
        w_global: Where the round started, in the shapes of ``w``.
        work: Has eta, mu, the weight decay and where the proximal term goes.
    """

    def __init__(self, w: Sequence[Tensor], w_global: Sequence[Tensor], work: LocalWork) -> None:
        self._w = list(w)
        self._w_global = list(w_global)
        self._work = work
        # Fused is one pass over memory; the default takes three times as long.
        self._adamw = torch.optim.AdamW(
            self._w, lr=work.learning_rate, weight_decay=work.weight_decay, fused=True
        )

    @torch.no_grad()
    def step(self, gradient: list[Tensor]) -> None:
        """Make a step, as documented for an optimiser."""
        eta, mu = self._work.learning_rate, self._work.mu
        if mu != 0 and self._work.proximal_term == "decoupled":
            torch._foreach_lerp_(self._w, self._w_global, eta * mu)
        elif mu != 0:
            _add_proximal_gradient(gradient, self._w, self._w_global, mu)
        for w_i, g_i in zip(self._w, gradient, strict=True):
            w_i.grad = g_i
        self._adamw.step()
        self._adamw.zero_grad()


def make_optimizer(w: Sequence[Tensor], w_global: Sequence[Tensor], work: LocalWork) -> Optimizer:
    """Return the optimiser that a client's work names.

    Args:
        w: Parameters, of any shapes, which it is to change.
        w_global: Where the round started, in the shapes of ``w``.
        work: The local problem and its budget.
    """
    return Sgd(w, w_global, work) if work.optimizer == "sgd" else AdamW(w, w_global, work)


def _add_proximal_gradient(
    sums: Sequence[Tensor], w: Sequence[Tensor], w_global: Sequence[Tensor], mu: float
) -> None:
    """Do ``sums += mu (w - w_global)``.

    One tensor after the other: all differences at once would be another model in memory, which
    takes three times as long.
    """
    for sum_i, w_i, w_global_i in zip(sums, w, w_global, strict=True):
        sum_i.add_(w_i - w_global_i, alpha=mu)
