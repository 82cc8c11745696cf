"""What the owner of a node sees of an experiment before it runs here: all of it, the code first."""

from __future__ import annotations

import difflib
import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from superb_ks.experiment import Experiment, UnsoundExperiment
from superb_ks.settings import NOTEBOOKS_OWN
from superb_node.approval.store import Submission, require_digest
from superb_node.text import printable

# Colours of a terminal: what is code, what is new, what is gone.
_DIM, _GREEN, _RED, _BOLD, _PLAIN = "\033[2m", "\033[32m", "\033[31m", "\033[1m", "\033[0m"
WIDTH, CODE_WIDTH, MARGIN = 100, 110, 6
MAX_COMPARED = 5_000
"""Lines of two texts that are compared; that takes time that grows with the square of their number."""


def review(submission: Submission, text: bytes, last_approved: Path, colours: bool = False) -> Iterator[str]:
    """Yield an experiment line by line: its tasks, its settings, its model, its package, what is new.

    Args:
        submission: as the node took it in.
        text: of the experiment.
        last_approved: text that was approved last here, if there is one.
        colours: for a terminal.

    Raises:
        ReviewError: another text lies there by now.
    """
    require_digest(submission, text)
    experiment = Experiment.read(text)
    yield _title(f"Experiment {submission.name} of {submission.author}", colours)
    yield f"digest {submission.digest}, {len(text):,} bytes"
    yield _title("Tasks: the only code of the experiment", colours)
    for number, line in enumerate(experiment.tasks.rstrip("\n").split("\n"), start=1):
        yield from _numbered(number, line, colours)
    yield _title("How they are called", colours)
    for task, names in experiment.arguments.items():
        yield from _wrapped(f"{task}(" + ", ".join(f"{own}={entity}" for entity, own in names.items()) + ")")
    yield from _wrapped(f"shard: {experiment.shard or 'a ClipDataset for each split'}")
    yield _title("Settings", colours)
    for name, value in experiment.settings.for_nodes().to_dict().items():
        if name not in NOTEBOOKS_OWN:
            yield from _wrapped(f"{name}: {_as_json(_set_in(value) if isinstance(value, dict) else value)}")
    yield from _wrapped(f"recipe in full: {_as_json(_set_in(vars(experiment.settings.complete_recipe)))}")
    yield _title("Model", colours)
    yield from _wrapped(_as_json(experiment.model))
    yield _title("Package superb_ks", colours)
    version, package = (printable(experiment.package[key])[:12] for key in ("version", "digest"))
    same = "identical to this node's own, which is what runs; nothing of it travels"
    yield from _wrapped(f"{version} ({package}): {experiment.fault_of_package() or same}")
    yield from _differences(last_approved, text, colours)


def _numbered(number: int, line: str, colours: bool) -> Iterator[str]:
    """Yield a line of code such that all of it is seen.

    A long line is cut into several. Tabs and letters beyond ASCII are escaped, since some look like others,
    or like nothing: such a line has a mark, `!`, and each of its own backslashes is doubled.
    """
    plain = line.isascii() and "\t" not in line
    seen = line if plain else line.encode("unicode_escape").decode()
    width = _at_most(CODE_WIDTH, MARGIN)
    for start in range(0, max(1, len(seen)), width):
        place = f"{number:>4}" if start == 0 else "   +"
        mark = _coloured(f"{place}{' ' if plain else '!'}", _DIM, colours)
        yield f"{mark} {seen[start : start + width]}" if seen else mark.rstrip()


def _at_most(width: int, margin: int = 0) -> int:
    """Return a width that fits the terminal: what it broke itself would look like lines of their own."""
    return max(20, min(width, shutil.get_terminal_size((width + margin, 24)).columns - margin))


def _as_json(value: object) -> str:
    """Return a value as JSON, in which no letter looks like another."""
    return json.dumps(value)


def _set_in(values: Mapping[str, object]) -> dict[str, object]:
    """Return what is set of the settings of a group: what is null there is as by default."""
    return {key: value for key, value in values.items() if value is not None}


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        _at_most(WIDTH),
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        drop_whitespace=False,
    )


def _title(text: str, colours: bool) -> str:
    return _coloured(printable(text), _BOLD, colours)


def _coloured(text: str, colour: str, colours: bool) -> str:
    return f"{colour}{text}{_PLAIN}" if colours else text


def _differences(last_approved: Path, text: bytes, colours: bool) -> Iterator[str]:
    if not last_approved.is_file():
        yield _title("Nothing was approved here before", colours)
        return
    try:
        before, now = _lines(last_approved.read_bytes()), _lines(text)
    except UnsoundExperiment:
        yield _title("What was approved here last was of another release, and cannot be compared", colours)
        return
    yield _title("Compared with what was approved here last", colours)
    if len(before) + len(now) > MAX_COMPARED:
        yield f"  NOT SHOWN: they have over {MAX_COMPARED:,} lines; read all of what is above"
        return
    lines = list(difflib.unified_diff(before, now, lineterm="", n=1))[2:]
    for line in lines or ["no difference"]:
        colour = {"+": _GREEN, "-": _RED}.get(line[:1], "")
        yield "  " + _coloured(printable(line), colour, colours and bool(colour))


def _lines(text: bytes) -> list[str]:
    """Return an experiment as lines to compare: the tasks as they stand, the rest as JSON."""
    experiment = Experiment.read(text)
    rest = {
        "settings": experiment.settings.to_dict(),
        "model": experiment.model,
        "arguments": experiment.arguments,
        "shard": experiment.shard,
        "package": experiment.package,
    }
    return [*experiment.tasks.split("\n"), *json.dumps(rest, indent=1, ensure_ascii=False).split("\n")]


def approval_command(submission: Submission) -> str:
    """Return what the owner enters to approve an experiment."""
    return f"bash review.sh approve {submission.name} {submission.digest}"
