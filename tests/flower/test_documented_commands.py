"""What `docs/two-engines.md` tells a Flower user to run, as it stands there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoModelForAudioClassification

from demo.ports import free_ports
from demo.process import ServiceProcess, stop_all
from superb_ks.run_files import BEST, CARDS, FINISHED, LAST, RECORDS, STATUS
from superb_ks.settings import SUPERB_LABELS
from superb_node.flower.cli import KEEPS_TO_ITSELF
from tests.flower.conftest import ROOT, left
from tests.support.lab import wait_until

DOCUMENT = ROOT / "docs" / "two-engines.md"
BLOCK = re.compile(r"```(?:sh|toml)\n(.*?)```", re.DOTALL)


@pytest.fixture
def page() -> list[str]:
    """The blocks on `flwr run`: SuperLink, configuration, environment, two runs, one by a file."""
    text = DOCUMENT.read_text(encoding="utf-8")
    part = text[text.index("To simulate, start a SuperLink") : text.index("## What each notion is called")]
    return BLOCK.findall(part)


@pytest.fixture
def variables(page: list[str], project: Path) -> dict[str, str]:
    """Those of a shell with the environment and the configuration of the page; all stays in the project."""
    (port,) = free_ports(1)
    home, temporary = project / "home", project / "tmp"
    home.mkdir()
    temporary.mkdir()
    (home / "config.toml").write_text(page[1].replace("50050", str(port)), encoding="utf-8")
    return {
        **os.environ,
        **KEEPS_TO_ITSELF,
        "FLWR_HOME": str(home),
        "DIRECTOR_PORT": str(port),
        "TMPDIR": str(temporary),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture
def superlink(page: list[str], variables: dict[str, str], project: Path) -> Iterator[ServiceProcess]:
    """The page's SuperLink, when it says that it listens."""
    activate, command = page[0].splitlines()
    assert activate == "source .venv/bin/activate"
    log = project / "superlink.log"
    superlink = ServiceProcess("superlink", ["bash", "-c", f"exec {command}"], project, variables, log)

    def listens() -> bool:
        superlink.check()
        return f"listening at 127.0.0.1:{variables['DIRECTOR_PORT']}" in superlink.log_tail()

    try:
        wait_until(listens, 180)
        yield superlink
    finally:
        stop_all([superlink])


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_flower_user_simulates(
    archive: Path, project: Path, page: list[str], variables: dict[str, str], superlink: ServiceProcess
) -> None:
    """To the SuperLink's end by Ctrl-C."""
    *_, runs, by_file = page
    # With a few recordings in place of the synthetic ones, which take a while to make.
    clips = f"source='folder' data-dir='{archive}'"

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=project, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    plain, brief = runs.splitlines()
    assert plain.split(" --federation-config")[0] in brief.replace(" rounds=1 tuning='head'", "")
    log = run(f'{brief} --run-config "{clips}"')
    check_output(project / "flower-run", log)

    given = clips.replace("' ", "'\n")
    documented = "rounds = 10\noutput = '$PWD/flower-run'\n"
    assert documented in by_file
    log = run(by_file.replace(documented, f"rounds = 1\noutput = '$PWD/own'\n{given}\n"))
    assert (project / "own" / STATUS).read_text() == FINISHED, log
    illegal = by_file.replace('"learning_rate": 0.001', '"learning_rate": -1')
    assert illegal != by_file
    log = run(illegal)
    assert "The run has failed: FedAdam.learning_rate is -1; legal: above 0\n" in log
    assert "Traceback" not in log

    os.kill(superlink.pid, signal.SIGINT)
    wait_until(lambda: superlink.exit_code() is not None, 60)
    assert superlink.exit_code() == 0
    assert "everything is stopped" in superlink.log_tail()
    assert (left(project), list((project / "tmp").iterdir())) == ([], [])


def check_output(output: Path, log: str) -> None:
    assert (output / STATUS).read_text() == FINISHED, log
    assert {file.name for file in output.iterdir()} == {STATUS, CARDS, RECORDS, BEST, LAST, "model"}
    assert re.search(r"The best model: test accuracy [\d.]+% on \d+ clips", log), log
    model = AutoModelForAudioClassification.from_pretrained(output / "model")
    assert tuple(model.config.id2label.values()) == SUPERB_LABELS
