"""What a user is told of bad input."""

from collections.abc import Callable
from typing import Any

import pytest

from common.errors import UserInputError


def refusal(call: Callable[..., object], *arguments: Any) -> str:
    """Return why a call is refused, which must be one sentence.

    Args:
        call: What must raise UserInputError.
        arguments: Of the call.
    """
    with pytest.raises(UserInputError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    return message
