"""The run's `summary.json`: written by the notebook, completed by the demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from demo.run_folder import write_atomically

SUMMARY = "summary.json"
KEYS = (
    "model",
    "data",
    "partition",
    "envoys",
    "rounds",
    "initial_test_accuracy",
    "test_accuracy",
    "test_clips",
    "confusion",
    "bytes_up_per_envoy_round",
    "seconds_total",
    "model_dir",
    "notebook",
)


class SummaryError(DemoError):
    """The notebook left no summary, or one without all of its entries."""


def complete_summary(run: Path, *, seconds_total: float, notebook: str) -> dict[str, Any]:
    """Add what only the demo knows to the summary and return all of it.

    Args:
        run: folder with the notebook's `summary.json`.
        seconds_total: wall-clock time from the start of the director to here.
        notebook: the executed notebook, relative to `run`.

    Raises:
        SummaryError: there is none, it is not JSON, or entries are missing.
    """
    path = run / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SummaryError(f"the notebook ran to its end and wrote no {SUMMARY}") from None
    except ValueError as error:
        raise SummaryError(f"{SUMMARY} is not JSON: {error}") from error
    if not isinstance(summary, dict):
        raise SummaryError(f"{SUMMARY} is not an object")
    summary |= {"seconds_total": round(seconds_total, 1), "notebook": notebook}
    missing = [key for key in KEYS if key not in summary]
    if missing:
        raise SummaryError(f"{SUMMARY} lacks {', '.join(missing)}")
    write_atomically(path, json.dumps(summary, indent=2) + "\n")
    return summary
