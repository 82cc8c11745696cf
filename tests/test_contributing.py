"""The habits of the project: releases, hooks and what CI runs agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
HERE = "{}.{}".format(*sys.version_info[:2])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_newest_release_is_the_one_to_cite() -> None:
    headings = re.findall(r"^## (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    cited = yaml.safe_load(text("CITATION.cff"))
    assert headings[1] == f"{cited['version']} ({cited['date-released']})"


def test_hooks_use_the_linter_of_the_environment() -> None:
    repositories = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    (revision,) = [each["rev"] for each in repositories if each["repo"].endswith("/ruff-pre-commit")]
    assert f"ruff=={revision.removeprefix('v')}" in text("constraints.txt").splitlines()


def test_ci_calls_our_checks_on_two_pythons() -> None:
    jobs = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    quick = jobs["quick"]
    assert len(quick["strategy"]["matrix"]["python"]) == 2
    assert quick["steps"][-1] == {"run": ".ci/run ${{ matrix.python }}"}
    assert jobs["everything"]["steps"][-1] == {"run": ".ci/run --all"}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A folder for PATH with this Python, and a make that only writes down what it is asked."""
    (tmp_path / "make").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n', encoding="utf-8")
    (tmp_path / f"python{HERE}").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    for name in ("make", f"python{HERE}"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


def ci_run(folder: Path, *versions: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        [str(ROOT / ".ci" / "run"), *versions], env=environment, capture_output=True, text=True, check=False
    )


def test_a_version_gets_the_quick_checks_only(asked: Path) -> None:
    done = ci_run(asked, HERE)
    assert done.returncode == 0, done.stderr
    lint, test, demo = (asked / "asked").read_text(encoding="utf-8").splitlines()
    assert lint == f"lint PYTHON=python{HERE} VENV=.venv-{HERE}"
    assert test == f"test PYTHON=python{HERE} VENV=.venv-{HERE}"
    assert demo.startswith("demo ENVOYS=1 ROUNDS=1") and demo.endswith(f"VENV=.venv-{HERE}")


def test_a_version_that_is_not_here_is_named(asked: Path) -> None:
    done = ci_run(asked, "2.6")
    assert (done.returncode, done.stderr) == (1, "no Python 2.6 here\n")
    assert not (asked / "asked").exists()


def test_checks_that_fail_fail_the_run(asked: Path) -> None:
    (asked / "make").write_text("#!/bin/sh\nexit 2\n", encoding="utf-8")
    assert ci_run(asked, HERE).returncode != 0
