"""The run's `summary.json`, which the notebook writes for everything that measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demo.errors import DemoError

SUMMARY = "summary.json"
KEYS = (
    "model",
    "tuning",
    "strategy",
    "data",
    "partition",
    "envoys",
    "rounds",
    "initial_test_accuracy",
    "test_accuracy",
    "test_clips",
    "confusion",
    "bytes_up_per_envoy_round",
    "baseline",
    "seconds_total",
    "model_dir",
    "notebook",
)
# Paths in it, relative to the run's folder.
_PATHS = ("model_dir", "notebook")


class SummaryError(DemoError):
    """The notebook left no summary, or one that is not complete or not true."""


def read_summary(run: Path) -> dict[str, Any]:
    """Read the summary in a run's folder.

    Raises:
        SummaryError: there is none, it is not JSON, entries are missing, or what it names is not there.
    """
    try:
        summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SummaryError(f"the notebook ran to its end and wrote no {SUMMARY}") from None
    except ValueError as error:
        raise SummaryError(f"{SUMMARY} is not JSON: {error}") from error
    if not isinstance(summary, dict):
        raise SummaryError(f"{SUMMARY} is not an object")
    missing = [key for key in KEYS if key not in summary]
    if missing:
        raise SummaryError(f"{SUMMARY} lacks {', '.join(missing)}")
    absent = [key for key in _PATHS if not (run / summary[key]).exists()]
    if absent:
        raise SummaryError(f"{SUMMARY} names as {absent[0]} what is not there: {summary[absent[0]]}")
    return summary
