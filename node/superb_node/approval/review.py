"""What the owner of a node sees of an experiment before it runs here."""

from __future__ import annotations

import difflib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from superb_node.approval.archive import NO_LIMITS, Contents, read_archive
from superb_node.approval.store import Submission, require_digest
from superb_node.text import printable

# Comparing lines takes time that grows with the square of their number.
MAX_LINES, MAX_LINES_IN_ALL, MAX_BYTES = 1_000, 5_000, 200_000


def review(submission: Submission, archive: Path, last_approved: Path) -> Iterator[str]:
    """Yield what there is to know about an experiment, line by line: author, digest, files, what is new.

    Nothing of the archive reaches a terminal as it is: control characters are shown as escapes.

    Raises:
        ReviewError: another archive lies there by now.
    """
    data = archive.read_bytes()
    contents = read_archive(data, NO_LIMITS)
    require_digest(submission, contents)
    yield f"Experiment {submission.name} of {printable(submission.author)}, digest {submission.digest}"
    yield f"{len(contents.sizes)} files, {sum(contents.sizes.values()):,} bytes:"
    yield from (f"  {size:>12,}  {name}" for name, size in contents.sizes.items())
    yield f"All of it lies in {archive.absolute()}; to read it, unzip it elsewhere, and import nothing."
    if not last_approved.is_file():
        yield "Nothing was approved here before that it could be compared with."
        yield "NOT SHOWN: the texts of all files; read them in the archive."
        return
    before = last_approved.read_bytes()
    approved = read_archive(before, NO_LIMITS)
    yield f"Compared with what was approved last, digest {approved.digest}:"
    with zipfile.ZipFile(io.BytesIO(before)) as old, zipfile.ZipFile(io.BytesIO(data)) as new:
        yield from _differences(old, approved, new, contents)


def _differences(
    old: zipfile.ZipFile, approved: Contents, new: zipfile.ZipFile, contents: Contents
) -> Iterator[str]:
    changed = [
        name
        for name in sorted(approved.digests | contents.digests)
        if approved.digests.get(name) != contents.digests.get(name)
    ]
    if not changed:
        yield "  no difference"
    lines_left = MAX_LINES_IN_ALL
    for name in changed:
        before, after = _lines(old, approved, name), _lines(new, contents, name)
        if before is None or after is None or len(before) + len(after) > lines_left:
            digests = [found.digests.get(name, "none") for found in (approved, contents)]
            why = (
                f"no text, or over {MAX_LINES:,} lines or {MAX_BYTES:,} bytes"
                if before is None or after is None
                else f"over {MAX_LINES_IN_ALL:,} lines with those above"
            )
            yield f"NOT SHOWN: {name}: digest {digests[0]} before, {digests[1]} now ({why})"
            continue
        lines_left -= len(before) + len(after)
        lines = difflib.unified_diff(before, after, f"approved/{name}", f"now/{name}", lineterm="")
        yield from map(printable, lines)


def _lines(archive: zipfile.ZipFile, contents: Contents, name: str) -> list[str] | None:
    """Return the lines of a text; none of a file that is missing, None for bytes and for what is too long."""
    if name not in contents.digests:
        return []
    if contents.sizes[name] > MAX_BYTES:
        return None
    try:
        text = archive.read(name).decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    return None if len(lines) > MAX_LINES or "\0" in text else lines


def approval_command(submission: Submission) -> str:
    """Return what the owner enters to approve an experiment."""
    return f"bash review.sh approve {submission.name} {submission.digest}"
