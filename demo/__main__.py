"""`python -m demo`: one federation, one run of a notebook, one folder of results."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from demo import notebook
from demo.command import carry_out
from demo.errors import DemoError
from demo.federation import Federation
from demo.flower_federation import FlowerFederation
from demo.options import LISTED, RUN_DIR, SYNTHETIC, TEST_FOLDER, TRACK, WORKSPACE, Options, parse_options
from demo.report import LiveProgress, envoys
from demo.run_folder import RunFolder
from demo.speech import make_synthetic_speech

# A service that dies takes the notebook's next call with it: how long to wait for the cause to show.
_CAUSE_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code of `carry_out`."""
    return carry_out("demo", lambda: parse_options(arguments), _run)


def _run(options: Options, folder: RunFolder, console: Console) -> None:
    """Everything between an empty run folder and a complete one."""
    federated = notebook.needs_federation(options.notebook)
    if options.data_dir is None and federated:
        speech = make_synthetic_speech(options.seed)
        options = replace(options, test_dir=speech / TEST_FOLDER)
    kind = FlowerFederation if options.engine == "flower" else Federation
    federation = kind(folder.path, envoys=options.envoys, shard_params=options.shard_params)
    parameters = notebook_parameters(options, federation, folder.path)
    # The folder gets its final name when all is done; the notebook that is kept shows that one.
    names = {folder.path.name: folder.run_id}
    executed = folder.path / "notebook.ipynb"
    services = "a SuperLink and SuperNodes for" if options.engine == "flower" else "a director and"
    with contextlib.ExitStack() as running:
        if federated:
            console.print(f"Starting {services} {envoys(options.envoys)} ...", highlight=False)
            running.enter_context(federation)
        try:
            with LiveProgress(console, names) as progress:
                notebook.execute(
                    options.notebook,
                    executed,
                    WORKSPACE,
                    parameters,
                    progress,
                    federation.check,
                    kernel_variables(options, folder.path),
                )
        except DemoError as error:
            if executed.exists():
                notebook.make_page(executed, names)
            if isinstance(error, notebook.NotebookError) and federated:
                _wait_for_the_cause(federation)
            raise
    notebook.make_page(executed, names)


def notebook_parameters(options: Options, federation: Federation, run_dir: Path) -> dict[str, Any]:
    """Values for the settings that the notebook has; paths as seen from the notebook."""
    test_data = options.test_dir
    # A simulation takes the word, as an envoy does; a federation's notebook reads the file itself.
    if test_data == LISTED and options.data_dir and notebook.needs_federation(options.notebook):
        test_data = options.data_dir / f"{LISTED}.txt"
    if test_data not in (None, LISTED):
        test_data = os.path.relpath(test_data, WORKSPACE)
    parameters = {
        "DIRECTOR_HOST": federation.director_host,
        "DIRECTOR_PORT": federation.director_port,
        "AGGREGATOR_PORT": federation.aggregator_port,
        "RUN_DIR": os.path.relpath(run_dir, WORKSPACE),
        "TEST_DATA": test_data,
        "ENVOY_CONFIG": os.path.relpath(federation.first_config, WORKSPACE),
        "VOICE_DIR": os.path.relpath(federation.nodes_dir / "my_voice", WORKSPACE),
        "DATA": os.path.relpath(options.data_dir, WORKSPACE) if options.data_dir else SYNTHETIC,
        "SEED": options.seed,
        **options.settings,
    }
    known = notebook.settings_of(options.notebook)
    return {name: value for name, value in parameters.items() if name in known}


def kernel_variables(options: Options, run_dir: Path) -> dict[str, str]:
    """Variables by which every notebook's `follow` knows where records are written too."""
    return {RUN_DIR: str(run_dir), **({TRACK: options.track} if options.track else {})}


def _wait_for_the_cause(federation: Federation) -> None:
    """Raise ProcessDied, which explains more, if a service is what ended the notebook."""
    deadline = time.monotonic() + _CAUSE_SECONDS
    while time.monotonic() < deadline:
        federation.check()
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
