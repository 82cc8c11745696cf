"""From an event log to figures, from several runs to medians, and into the results file."""

from __future__ import annotations

import datetime
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.transport.job import STEP, Job
from superb_node.work_folder import replace_file

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "transport.json"


class WrongResult(RuntimeError):
    """An engine finished with other weights than the job's arithmetic gives."""


def figures(events: list[dict[str, Any]], job: Job) -> dict[str, Any]:
    """Return what the event log of one run says, in seconds.

    A round lasts from its first task to the first task of the next one, on whichever client that runs; the
    last round lasts to the first task after it, or to its last result where nothing follows.
    """
    times: dict[str, float] = {}
    for event in events:
        times.setdefault(event["event"], event["t"])
    tasks = [event for event in events if event["event"] in ("train", "evaluate")]
    starts: dict[int, float] = {}
    for event in tasks:
        starts.setdefault(event["round"], event["t"])
    rounds = []
    for number in range(job.rounds):
        if number not in starts:
            break
        ended = "finished" in times and number == job.rounds - 1
        end = starts.get(number + 1) or (tasks[-1]["t"] if ended else None)
        if end is not None:
            rounds.append(end - starts[number])
    measured: dict[str, Any] = {"rounds": rounds}
    if rounds:
        measured["first_round"] = rounds[0]
    if rounds[1:]:
        measured["warm_round"] = statistics.median(rounds[1:])
    if "submit" in times and "submitted" in times:
        measured["submit"] = times["submitted"] - times["submit"]
    if tasks and "submit" in times:
        # Where submitting and starting are one step, the whole of it counts here.
        measured["to_first_task"] = tasks[0]["t"] - times.get("submitted", times["submit"])
    if "finished" in times and tasks:
        measured["to_finished"] = times["finished"] - tasks[-1]["t"]
        measured["total"] = times["finished"] - times["submit"]
    return measured


def check(events: list[dict[str, Any]], job: Job) -> None:
    """Check that every round's training reached everybody.

    Raises:
        WrongResult: a value is not the initial one plus the steps of all rounds.
    """
    values = [(event["round"], event["value"]) for event in events if event["event"] == "evaluate"]
    if not values:
        raise WrongResult("no evaluation was reported")
    initial = next(event["value"] for event in events if event["event"] == "initial")
    last = max(value for _, value in values)
    expected = initial + job.rounds * STEP
    if abs(last - expected) > STEP / 100:
        raise WrongResult(f"the last weight is {last:.6f}; {job.rounds} rounds lead to {expected:.6f}")


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every number over runs, by key; lists and dictionaries go down."""
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for run in runs for key in run):
        values = [run[key] for run in runs if key in run]
        if all(isinstance(value, dict) for value in values):
            merged[key] = medians(values)
        elif all(isinstance(value, list) for value in values):
            merged[key] = [statistics.median(column) for column in zip(*values, strict=False)]
        elif all(isinstance(value, (int, float)) for value in values):
            merged[key] = statistics.median(values)
        else:
            merged[key] = values[-1]
    return merged


def now() -> str:
    """Return date and time, UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def load(path: Path = RESULTS) -> dict[str, Any]:
    """Return the results so far; an empty dictionary without a file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def merge(section: str, entries: dict[str, Any], path: Path = RESULTS) -> None:
    """Put entries into a section of the results file, atomically.

    An entry replaces the one of its name; the section's others stay, those of earlier runs too.
    """
    results = load(path)
    results.setdefault(section, {}).update(entries)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(rounded(results), indent=1, sort_keys=True) + "\n").encode())


def rounded(value: Any) -> Any:
    """Round floats to four significant digits after the point: more would be noise."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value
