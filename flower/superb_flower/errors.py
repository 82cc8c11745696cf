"""What ends a run and is told in a line."""

from __future__ import annotations

import logging

from flwr.common.logger import FLOWER_LOGGER

from superb_node.errors import ToldError


class RunFailed(ToldError):
    """A run cannot go on, for a reason that its message gives in a line."""


def _in_a_line(record: logging.LogRecord) -> bool:
    """Take the traceback from what is logged of a `RunFailed`.

    Corrects: Flower logs all that ends an app with its traceback, where the reason is the last of many lines.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, RunFailed):
        record.msg, record.args, record.exc_info = "The run has failed: %s", (str(error),), None
    return True


FLOWER_LOGGER.addFilter(_in_a_line)
