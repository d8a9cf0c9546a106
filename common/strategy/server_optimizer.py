"""Server optimisers: steps of the global model along the pseudo-gradient of a round.

The pseudo-gradient is Delta_t = mean_k (w_k - w_t), an ascent direction: a step adds to w_t.
FedAdagrad, FedAdam and FedYogi are algorithm 2 of Reddi et al. 2021 (Adaptive Federated
Optimization, arXiv 2003.00295), FedAvgM is that of Hsu et al. 2019 (Measuring the Effects of
Non-Identical Data Distribution, arXiv 1909.06335, section 3) with a server learning rate.

As in the papers, no moment is corrected for its bias, unless FedAdam or FedYogi is asked to: they
start at 0 then and are divided by 1 - beta^t in step t = 1, 2, ... (Kingma & Ba 2015, Adam, arXiv
1412.6980, algorithm 1). Flower's FedAdam always corrects them, a little otherwise: by a factor of
eta, so that tau is added to sqrt(v_t) as it is, and by the t of the step after.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from common.arrays import to_array, view
from common.strategy.options import ServerOptimizerName

Tensors = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]

_MOMENTUM: Final = "server-momentum"
_SECOND_MOMENT: Final = "server-second-moment"
_STEPS: Final = "server-steps"


class ServerOptimizer(ABC):
    """Moves the parameters that it was made for; it is never to see a buffer.

    A step is computed in float64. Its moments are kept in the types of the parameters, to which
    each is rounded once a step: a checkpoint grows by a model for each, and not by two.

    Args:
        w_0: The parameters before the first round, by key; only their shapes and types matter.
        server_learning_rate: eta, > 0.
        beta_1: Decay of the momentum, in [0, 1).
    """

    def __init__(self, w_0: Tensors, *, server_learning_rate: float, beta_1: float) -> None:
        self.server_learning_rate = server_learning_rate
        self.beta_1 = beta_1
        self._moments = {_MOMENTUM: {key: np.zeros(w.shape, w.dtype) for key, w in w_0.items()}}

    @property
    def parameters(self) -> tuple[str, ...]:
        """The keys of what it moves."""
        return tuple(self._moments[_MOMENTUM])

    def step(self, w: Tensors, delta: Tensors) -> dict[str, NDArray[Any]]:
        """Return the parameters of the next round.

        Args:
            w: w_t, of any shapes; other keys than :attr:`parameters` are not looked at.
            delta: Delta_t, in the shapes of ``w``.

        Returns:
            w_{t+1} by key, in the shapes and types of ``w``.
        """
        return {
            key: (w[key] + self._move(key, delta[key].astype(np.float64))).astype(w[key].dtype)
            for key in self.parameters
        }

    @abstractmethod
    def _move(self, key: str, delta: Float64) -> Float64:
        """Update the moments of a tensor and return what to add to it."""

    def _moment(self, name: str, key: str) -> Float64:
        return self._moments[name][key].astype(np.float64)

    def _keep(self, name: str, key: str, moment: Float64) -> None:
        self._moments[name][key] = moment.astype(self._moments[name][key].dtype)

    def state(self) -> RecordDict:
        """Return the moments, and what else the next step depends on."""
        return RecordDict(
            {
                name: ArrayRecord({key: to_array(moment) for key, moment in moments.items()})
                for name, moments in self._moments.items()
            }
        )

    def restore(self, state: RecordDict) -> None:
        """Continue from what :meth:`state` returned; other records may be beside it.

        Raises:
            KeyError: It is of another optimiser; nothing has changed then.
            ValueError: It is of another model, or damaged; nothing has changed then.
        """
        self._moments = {
            name: _read_moments(name, state.array_records[name], moments)
            for name, moments in self._moments.items()
        }


class FedAvgM(ServerOptimizer):
    """m_t = beta_1 m_{t-1} + Delta_t;  w_{t+1} = w_t + eta m_t.

    With eta = 1 and beta_1 = 0 it is FedAvg.
    """

    def _move(self, key: str, delta: Float64) -> Float64:
        m = self.beta_1 * self._moment(_MOMENTUM, key) + delta
        self._keep(_MOMENTUM, key, m)
        return self.server_learning_rate * m


class _Adaptive(ServerOptimizer):
    """m_t = beta_1 m_{t-1} + (1 - beta_1) Delta_t;  w_{t+1} = w_t + eta m_t / (sqrt(v_t) + tau).

    The second moment v starts at tau^2, the least that the paper allows; tau is the degree of
    adaptivity, > 0: the smaller, the more adaptive.
    """

    def __init__(
        self, w_0: Tensors, *, server_learning_rate: float, beta_1: float, tau: float
    ) -> None:
        super().__init__(w_0, server_learning_rate=server_learning_rate, beta_1=beta_1)
        self.tau = tau
        self._moments[_SECOND_MOMENT] = {
            key: np.full(w.shape, tau**2, w.dtype) for key, w in w_0.items()
        }

    def _move(self, key: str, delta: Float64) -> Float64:
        m = self.beta_1 * self._moment(_MOMENTUM, key) + (1 - self.beta_1) * delta
        v = self._next_second_moment(self._moment(_SECOND_MOMENT, key), np.square(delta))
        self._keep(_MOMENTUM, key, m)
        self._keep(_SECOND_MOMENT, key, v)
        m, v = self._unbiased(m, v)
        return self.server_learning_rate * m / (np.sqrt(v) + self.tau)

    def _unbiased(self, m: Float64, v: Float64) -> tuple[Float64, Float64]:
        """Return the moments that make the step."""
        return m, v

    @abstractmethod
    def _next_second_moment(self, v: Float64, delta_squared: Float64) -> Float64:
        """Return v_t, given v_{t-1} and Delta_t^2."""


class FedAdagrad(_Adaptive):
    """v_t = v_{t-1} + Delta_t^2."""

    def _next_second_moment(self, v: Float64, delta_squared: Float64) -> Float64:
        return v + delta_squared


class _Decaying(_Adaptive):
    """One whose second moment decays, by beta_2 in [0, 1).

    With ``bias_correction`` v starts at 0, and the step is eta m' / (sqrt(v') + tau) with
    m' = m_t / (1 - beta_1^t); v' = v_t / (1 - beta_2^t). In FedAdam both are weighted means over
    the rounds so far, without the zeros that they start at.
    """

    def __init__(
        self,
        w_0: Tensors,
        *,
        server_learning_rate: float,
        beta_1: float,
        beta_2: float,
        tau: float,
        bias_correction: bool,
    ) -> None:
        super().__init__(w_0, server_learning_rate=server_learning_rate, beta_1=beta_1, tau=tau)
        self.beta_2 = beta_2
        self.bias_correction = bias_correction
        self._num_steps = 0
        if bias_correction:
            for v in self._moments[_SECOND_MOMENT].values():
                v.fill(0)

    def step(self, w: Tensors, delta: Tensors) -> dict[str, NDArray[Any]]:
        """Return the parameters of the next round, as documented for an optimiser."""
        self._num_steps += 1
        return super().step(w, delta)

    def _unbiased(self, m: Float64, v: Float64) -> tuple[Float64, Float64]:
        if not self.bias_correction:
            return m, v
        t = self._num_steps
        return m / (1 - self.beta_1**t), v / (1 - self.beta_2**t)

    def state(self) -> RecordDict:
        """Return the moments; with a bias correction the number of steps, too."""
        state = super().state()
        if self.bias_correction:
            state[_STEPS] = MetricRecord({"count": self._num_steps})
        return state

    def restore(self, state: RecordDict) -> None:
        """Continue from what :meth:`state` returned, as documented for an optimiser."""
        num_steps = _read_steps(state.metric_records[_STEPS]) if self.bias_correction else 0
        super().restore(state)
        self._num_steps = num_steps


class FedAdam(_Decaying):
    """v_t = beta_2 v_{t-1} + (1 - beta_2) Delta_t^2."""

    def _next_second_moment(self, v: Float64, delta_squared: Float64) -> Float64:
        return self.beta_2 * v + (1 - self.beta_2) * delta_squared


class FedYogi(_Decaying):
    """v_t = v_{t-1} - (1 - beta_2) Delta_t^2 sign(v_{t-1} - Delta_t^2)."""

    def _next_second_moment(self, v: Float64, delta_squared: Float64) -> Float64:
        return v - (1 - self.beta_2) * delta_squared * np.sign(v - delta_squared)


def make_server_optimizer(
    name: ServerOptimizerName,
    w_0: Tensors,
    *,
    server_learning_rate: float,
    beta_1: float,
    beta_2: float,
    tau: float,
    bias_correction: bool,
) -> ServerOptimizer | None:
    """Return the optimiser of a name; None for "none", with which the mean is the next model.

    Args:
        name: Which one. FedAvgM takes neither ``beta_2`` nor ``tau``, FedAdagrad no ``beta_2``,
            and neither of the two a ``bias_correction``.
        w_0: The parameters before the first round, of any shapes.
        server_learning_rate: eta, > 0.
        beta_1: Decay of the momentum, in [0, 1).
        beta_2: Decay of the second moment, in [0, 1).
        tau: Degree of adaptivity, > 0.
        bias_correction: Whether moments that start at 0 are divided by 1 - beta^t.
    """
    eta = server_learning_rate
    match name:
        case "none":
            return None
        case "fedavgm":
            return FedAvgM(w_0, server_learning_rate=eta, beta_1=beta_1)
        case "fedadagrad":
            return FedAdagrad(w_0, server_learning_rate=eta, beta_1=beta_1, tau=tau)
        case "fedadam" | "fedyogi":
            decaying = FedAdam if name == "fedadam" else FedYogi
            return decaying(
                w_0,
                server_learning_rate=eta,
                beta_1=beta_1,
                beta_2=beta_2,
                tau=tau,
                bias_correction=bias_correction,
            )


def _read_moments(name: str, record: ArrayRecord, like: Tensors) -> dict[str, NDArray[Any]]:
    if record.keys() != like.keys():
        raise ValueError(f"{name} is not of this model's parameters")
    moments = {key: view(record[key]) for key in like}
    for key, moment in moments.items():
        if (moment.shape, moment.dtype) != (like[key].shape, like[key].dtype):
            raise ValueError(f"{name} of {key!r} is {moment.dtype}{list(moment.shape)}")
        least = 0 if name == _SECOND_MOMENT else -np.inf
        if not (np.isfinite(moment) & (moment >= least)).all():
            raise ValueError(f"{name} of {key!r} holds a number that it cannot")
    return moments


def _read_steps(record: MetricRecord) -> int:
    count = record["count"]
    if type(count) is not int or count < 0:
        raise ValueError(f"the number of steps is {count!r:.50}")
    return count
