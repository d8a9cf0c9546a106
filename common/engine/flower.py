"""The one place that touches Flower's internals.

Outside Flower's own runtime, a ``Message`` can be made only once ``TaskIdentity`` knows the run,
and only the SuperLink numbers messages. Both are internal in flwr 1.41.
"""

import logging
import traceback
from typing import Final

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

SERVER_NODE_ID: Final = SUPERLINK_NODE_ID
RUN_ID: Final = 1


def become_server() -> None:
    """Let this process make instruction messages, and silence Flower's own account of a run."""
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.task_id = 1
    TaskIdentity.node_id = SERVER_NODE_ID
    logging.getLogger("flwr").setLevel(logging.WARNING)


def make_run() -> Run:
    """Return the record of a run that no SuperLink knows."""
    return Run.create_empty(RUN_ID)


def number_message(message: Message, message_id: str) -> None:
    """Give a message the identifier that its reply will name."""
    message.metadata.__dict__["_message_id"] = message_id


def answer(client_app: ClientApp, message: Message, context: Context) -> Message:
    """Let a client answer a message; what it raises becomes an error reply, as in Flower.

    The reason of the error starts with the exception and goes on with its traceback.

    Returns:
        The client's reply, or an error.
    """
    try:
        reply = client_app(message, context)
        if not isinstance(reply, Message):
            raise TypeError(f"the client answered with {type(reply).__name__}, not with a message")
        return reply
    except (Exception, SystemExit) as error:  # Who exits is not to take the server along.
        summary = f"{type(error).__name__}: {error}"
        reason = f"{summary}\n{''.join(traceback.format_exception(error))}"
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def fail(message: Message, reason: str) -> Message:
    """Answer in the place of a client whose process is gone."""
    return Message(Error(ErrorCode.CLIENT_APP_CRASHED, reason), reply_to=message)
