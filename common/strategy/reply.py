"""What a client's reply must be before its model is averaged."""

import sys
from collections.abc import Collection, Sequence

from flwr.app import ArrayRecord, Message

from common.arrays import view
from common.finite import is_finite
from common.protocol import ARRAYS, METRICS, NUM_EXAMPLES


class BadReplyError(ValueError):
    """A reply that cannot be averaged; the message says why, as what the client did."""


def read_reply(
    reply: Message, w_global: ArrayRecord, n_k: int, broadcast_only: Collection[str] = ()
) -> ArrayRecord:
    """Return the model of a client that answered as asked.

    Args:
        reply: The client's reply.
        w_global: The model of the round: a client's has its keys, shapes and types.
        n_k: The client's examples, which it must report, for they are its weight.
        broadcast_only: Keys of ``w_global`` that a client's model must lack.

    Raises:
        BadReplyError: The client raised or did not reply, or its model or n_k cannot be used: a
            missing or an extra tensor, another shape or type, a value that is not finite, or
            another number of examples.
    """
    w_k = read_sent(reply, n_k)
    require_model(w_k, w_global, broadcast_only)
    return w_k


def read_sent(reply: Message, n_k: int) -> ArrayRecord:
    """Return the tensors that a client sent, which may be those of any model.

    Args:
        reply: The client's reply.
        n_k: The client's examples, which it must report, for they are its weight.

    Raises:
        BadReplyError: The client raised or did not reply, or sent no tensors, or another n_k.
    """
    if reply.has_error():
        raise BadReplyError(reply.error.reason or "it gave no reason")
    sent = reply.content.array_records.get(ARRAYS)
    metrics = reply.content.metric_records.get(METRICS)
    if sent is None or metrics is None:
        raise BadReplyError(f"its reply has no {ARRAYS if sent is None else METRICS!r}")
    reported = metrics.get(NUM_EXAMPLES)
    if type(reported) is not int or reported != n_k:
        raise BadReplyError(f"it reports {reported!r:.50} examples, but has {n_k}")
    return sent


def require_model(
    w_k: ArrayRecord, w_global: ArrayRecord, broadcast_only: Collection[str] = ()
) -> None:
    """Refuse a model that cannot be averaged.

    Args:
        w_k: A client's.
        w_global: The model of the round: a client's has its keys, shapes and types.
        broadcast_only: Keys of ``w_global`` that a client's model must lack.

    Raises:
        BadReplyError: A missing or an extra tensor, another shape or type, or a value that is not
            finite.
    """
    _require_the_tensors(w_k, w_global, broadcast_only)
    for key, w in w_global.items():
        if key in w_k:
            _require_usable(key, w_k, w.dtype, tuple(w.shape))


def read_metrics(reply: Message, names: Sequence[str]) -> dict[str, float]:
    """Return the numbers that a client was to report beside its model.

    Args:
        reply: A reply that :func:`read_reply` took.
        names: Of the numbers; others that the client reports are not looked at.

    Raises:
        BadReplyError: One is missing, or not a finite number.
    """
    metrics = reply.content.metric_records[METRICS]
    values: dict[str, float] = {}
    for name in names:
        value = metrics.get(name)
        if value is None:
            raise BadReplyError(f"it reports no {name!r}")
        if not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise BadReplyError(f"its {name!r} is {value!r:.50}, which is not a finite number")
        values[name] = float(value)
    return values


def _require_the_tensors(
    w_k: ArrayRecord, w_global: ArrayRecord, broadcast_only: Collection[str]
) -> None:
    missing = w_global.keys() - w_k.keys() - set(broadcast_only)
    extra, unasked = w_k.keys() - w_global.keys(), w_k.keys() & set(broadcast_only)
    if missing:
        raise BadReplyError(f"its model lacks {min(missing)!r}")
    if extra:
        raise BadReplyError(f"its model has {min(extra)!r:.50}, which the global model has not")
    if unasked:
        raise BadReplyError(f"its model has {min(unasked)!r}, which only the server sends")


def _require_usable(key: str, w_k: ArrayRecord, dtype: str, shape: tuple[int, ...]) -> None:
    try:
        w = view(w_k[key])
    except Exception as error:  # NumPy raises errors of many kinds at a header that is none.
        raise BadReplyError(f"the bytes of its {key!r} are no array ({error!s:.80})") from None
    if w.shape != shape or str(w.dtype) != dtype:
        found = f"{w.dtype!s:.50}{list(w.shape)!s:.100}"
        raise BadReplyError(f"its {key!r} is {found}, not {dtype}{list(shape)}")
    if not is_finite(w):
        raise BadReplyError(f"its {key!r} holds a number that is not finite")
