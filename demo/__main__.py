"""`python -m demo`: one federation, one run of a notebook, one folder of results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from demo import notebook
from demo.errors import DemoError
from demo.federation import Federation
from demo.interrupts import Interrupted, ignored, raise_interrupted
from demo.options import LISTED, TEST_FOLDER, WORKSPACE, Options, parse_options
from demo.report import LiveProgress, envoys, print_results
from demo.run_folder import RunFolder
from superb_node.command_line import keep_files_private, set_up_output

ROOT = WORKSPACE.parent
RUNS = ROOT / "runs"
# A service that dies takes the notebook's next call with it: how long to wait for the cause to show.
_CAUSE_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code: 0, 1 for a failure, 2 for a bad option, 130 for Ctrl-C."""
    set_up_output()
    keep_files_private()
    try:
        if sys.platform == "win32":
            raise DemoError("Linux or macOS is needed; on Windows use WSL 2")
        options = parse_options(arguments)
        Path.home()
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except RuntimeError:
        print("demo: this user has no home folder; set HOME to a folder, such as HOME=/tmp", file=sys.stderr)
        return 2
    console = Console(soft_wrap=True)
    try:
        with raise_interrupted():
            return _run_in_folder(options, console)
    except Interrupted as interrupted:
        console.print("demo: interrupted; everything is stopped and nothing is left behind", style="yellow")
        return interrupted.exit_code


def _run_in_folder(options: Options, console: Console) -> int:
    def say(text: str, style: str = "red") -> None:
        console.print(f"demo: {text}", style=style, markup=False, highlight=False)

    start = time.monotonic()
    try:
        folder = RunFolder(RUNS)
    except DemoError as error:
        say(str(error))
        return 1
    try:
        _run(options, folder, console)
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


def _run(options: Options, folder: RunFolder, console: Console) -> None:
    """Everything between an empty run folder and a complete one."""
    if options.data_dir is None:
        speech = make_synthetic_speech(options.seed)
        options = replace(options, test_dir=speech / TEST_FOLDER)
    federation = Federation(folder.path, envoys=options.envoys, shard_params=options.shard_params)
    parameters = notebook_parameters(options, federation, folder.path)
    # The folder gets its final name when all is done; the notebook that is kept shows that one.
    names = {folder.path.name: folder.run_id}
    executed = folder.path / "notebook.ipynb"
    console.print(f"Starting a director and {envoys(options.envoys)} ...", highlight=False)
    with federation:
        try:
            with LiveProgress(console, names) as progress:
                notebook.execute(
                    options.notebook, executed, WORKSPACE, parameters, progress, federation.check
                )
        except DemoError as error:
            if executed.exists():
                notebook.make_page(executed, names)
            if isinstance(error, notebook.NotebookError):
                _wait_for_the_cause(federation)
            raise
    notebook.make_page(executed, names)


def notebook_parameters(options: Options, federation: Federation, run_dir: Path) -> dict[str, Any]:
    """Values for the settings that the notebook has; paths as seen from the notebook."""
    test_data = options.test_dir
    if test_data == LISTED and options.data_dir is not None:
        test_data = options.data_dir / f"{LISTED}.txt"
    parameters = {
        "DIRECTOR_HOST": federation.director_host,
        "DIRECTOR_PORT": federation.director_port,
        "AGGREGATOR_PORT": federation.aggregator_port,
        "RUN_DIR": os.path.relpath(run_dir, WORKSPACE),
        "TEST_DATA": test_data and os.path.relpath(test_data, WORKSPACE),
        "ENVOY_CONFIG": os.path.relpath(federation.first_config, WORKSPACE),
        "SEED": options.seed,
        **options.settings,
    }
    known = notebook.settings_of(options.notebook)
    return {name: value for name, value in parameters.items() if name in known}


def make_synthetic_speech(seed: int) -> Path:
    """Make the embedded speech, unless it is in the cache, before the envoys ask for it; returns its folder.

    Raises:
        DemoError: it could not be made; why is on the terminal.
    """
    command = [sys.executable, "-m", "speech_commands.synthetic", "--seed", str(seed)]
    # In a session of its own it is told to end once, by this process, and can tidy up after itself.
    with subprocess.Popen(
        command,
        cwd=ROOT / "envoy",
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            folder, _ = process.communicate()
        except BaseException:
            process.send_signal(signal.SIGINT)
            raise
    if process.returncode:
        raise DemoError(f"the embedded speech could not be made (exit code {process.returncode})")
    return Path(folder.rstrip("\n"))


def _wait_for_the_cause(federation: Federation) -> None:
    """Raise ProcessDied, which explains more, if a service is what ended the notebook."""
    deadline = time.monotonic() + _CAUSE_SECONDS
    while time.monotonic() < deadline:
        federation.check()
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
