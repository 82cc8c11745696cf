"""What the commands that fill a folder in `runs/` share: exit codes, Ctrl-C, what a failure leaves."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from demo.errors import DemoError
from demo.interrupts import Interrupted, ignored, raise_interrupted
from demo.report import print_results
from demo.run_folder import RunFolder
from superb_node.command_line import keep_files_private, require_home, set_up_output
from superb_node.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs"
T = TypeVar("T")


def carry_out(program: str, parse: Callable[[], T], run: Callable[[T, RunFolder, Console], None]) -> int:
    """Run what fills a new folder in `runs/`, and print its results.

    Args:
        program: how messages call it.
        parse: returns what the user asks for, or raises DemoError.
        run: everything between an empty run folder and a complete one.

    Returns:
        the exit code: 0, 1 for a failure, 2 for a bad option, 130 for Ctrl-C.
    """
    set_up_output()
    keep_files_private()
    try:
        options = parse()
        require_home()
    except (DemoError, ConfigError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    console = Console(soft_wrap=True)
    try:
        with raise_interrupted():
            return _run_in_folder(program, lambda folder: run(options, folder, console), console)
    except Interrupted as interrupted:
        left = "everything is stopped and nothing is left behind"
        console.print(f"{program}: interrupted; {left}", style="yellow")
        return interrupted.exit_code


def _run_in_folder(program: str, run_in: Callable[[RunFolder], None], console: Console) -> int:
    def say(text: str, style: str = "red") -> None:
        console.print(f"{program}: {text}", style=style, markup=False, highlight=False)

    start = time.monotonic()
    try:
        folder = RunFolder(RUNS)
    except DemoError as error:
        say(str(error))
        return 1
    try:
        run_in(folder)
    except Exception as error:
        with ignored():
            failed = folder.keep_failure()
        if not isinstance(error, DemoError):
            raise
        say(str(error))
        say(f"failed; the logs are in {failed.relative_to(ROOT)}")
        return 1
    except BaseException:
        with ignored():
            folder.discard()
        raise
    with ignored():
        run = folder.publish()
    print_results(console, run, time.monotonic() - start)
    if not folder.is_latest:
        where = run.relative_to(ROOT)
        say(f"runs/latest could not be linked to {where}; if it is a folder, move it away", "yellow")
    return 0
