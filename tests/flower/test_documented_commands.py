"""What `docs/two-engines.md` tells a Flower user to run, as it stands there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
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


@pytest.mark.federation
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_flower_user_simulates(archive: Path, project: Path) -> None:
    """From the SuperLink to its end by Ctrl-C, in a copy of the project, where everything stays."""
    text = DOCUMENT.read_text(encoding="utf-8")
    part = text[text.index("To simulate, start a SuperLink") : text.index("## What each notion is called")]
    start, config, _, runs, by_file = BLOCK.findall(part)
    activate, command = start.splitlines()
    assert activate == "source .venv/bin/activate"
    (port,) = free_ports(1)
    home, temporary = project / "home", project / "tmp"
    home.mkdir()
    temporary.mkdir()
    (home / "config.toml").write_text(config.replace("50050", str(port)), encoding="utf-8")
    variables = {
        **os.environ,
        **KEEPS_TO_ITSELF,
        "FLWR_HOME": str(home),
        "DIRECTOR_PORT": str(port),
        "TMPDIR": str(temporary),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    log = project / "superlink.log"
    superlink = ServiceProcess("superlink", ["bash", "-c", f"exec {command}"], project, variables, log)
    try:

        def listens() -> bool:
            superlink.check()
            return f"listening at 127.0.0.1:{port}" in log.read_text(encoding="utf-8", errors="replace")

        wait_until(listens, 180)
        plain, brief = runs.splitlines()
        assert plain.split(" --federation-config")[0] in brief.replace(" rounds=1 tuning='head'", "")
        # With a few recordings in place of the synthetic ones, which take a while to make.
        clips = f"source='folder' data-dir='{archive}'"

        def run(command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", "-c", command], cwd=project, env=variables,
                capture_output=True, text=True, check=False,
            )  # fmt: skip

        done = run(f'{brief} --run-config "{clips}"')
        assert done.returncode == 0, done.stdout + done.stderr
        output = project / "flower-run"
        assert (output / STATUS).read_text() == FINISHED, done.stdout
        assert {file.name for file in output.iterdir()} == {STATUS, CARDS, RECORDS, BEST, LAST, "model"}
        assert re.search(r"The best model: test accuracy [\d.]+% on \d+ clips", done.stdout), done.stdout
        model = AutoModelForAudioClassification.from_pretrained(output / "model")
        assert tuple(model.config.id2label.values()) == SUPERB_LABELS

        given = clips.replace("' ", "'\n")
        documented = "rounds = 10\noutput = '$PWD/flower-run'\n"
        assert documented in by_file
        own = run(by_file.replace(documented, f"rounds = 1\noutput = '$PWD/own'\n{given}\n"))
        assert (project / "own" / STATUS).read_text() == FINISHED, own.stdout
        illegal = run(by_file.replace("0.02", "-1"))
        assert "The run has failed: FedAdam.learning_rate is -1; legal: above 0\n" in illegal.stdout
        assert "Traceback" not in illegal.stdout
        os.kill(superlink.pid, signal.SIGINT)
        wait_until(lambda: superlink.exit_code() is not None, 60)
        assert superlink.exit_code() == 0
        assert "everything is stopped" in log.read_text(encoding="utf-8", errors="replace")
        assert (left(project), list(temporary.iterdir())) == ([], [])
    finally:
        stop_all([superlink])
