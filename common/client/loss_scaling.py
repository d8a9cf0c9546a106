"""Loss scaling: keeps small gradients representable in float16.

Below 6e-8 float16 has only 0, and gradients of activations are often smaller. Those of a loss that
is multiplied by a factor are larger by that factor, which is divided out of the weights' gradients
in float32 (Micikevicius et al. 2018, Mixed Precision Training, arXiv 1710.03740, section 3.2). The
factor is as large as nothing overflows at, and found while training, by the rules of PyTorch's
GradScaler. bfloat16, with float32's range, needs none of it.

A client's scale begins anew in every round, as its optimiser does. As a rule it is too large at
first, and steps are skipped until it fits: of a client with few batches these may be most.
"""

from typing import Final

import torch
from torch import Tensor

_FIRST_SCALE: Final = 2.0**16
_LEAST_SCALE: Final = 1.0
_STEPS_UNTIL_GROWTH: Final = 2000


class LossScaler:
    """A scale that is halved where a gradient is not finite, and doubled after 2000 steps without.

    It is never less than 1, where PyTorch's goes on to 0: gradients that overflow at 1 do so by
    themselves, and a client that diverges is to be seen instead of skipping all its steps.

    Attributes:
        scale: What the next loss is multiplied by; a power of 2, so that nothing is rounded.
    """

    def __init__(self) -> None:
        self.scale = _FIRST_SCALE
        self._good_steps = 0

    def unscale(self, gradient: list[Tensor]) -> bool:
        """Divide the gradients of a scaled loss by its scale, in place, and set the next scale.

        To tell whether they are finite makes a GPU wait, once a step.

        Args:
            gradient: Of ``scale`` times the loss, float32, a tensor for each parameter, of its
                shape.

        Returns:
            Whether to make a step with them; one that would overflow is to be skipped.
        """
        found_overflow = torch.zeros(1, device=gradient[0].device)
        inverse = torch.full_like(found_overflow, 1 / self.scale)
        torch._amp_foreach_non_finite_check_and_unscale_(gradient, found_overflow, inverse)
        if found_overflow.item() == 0:
            self._good_steps += 1
            if self._good_steps == _STEPS_UNTIL_GROWTH:
                self.scale *= 2
                self._good_steps = 0
            return True
        if self.scale == _LEAST_SCALE:
            return True
        self.scale /= 2
        self._good_steps = 0
        return False
