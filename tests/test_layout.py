"""Which folders and files there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import scope_of

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = "PyTorch_Huggingface_transformers_SUPERB.ipynb"
# OpenFL imports modules of these names from the working directory.
TAKEN_BY_OPENFL = {"model.py", "plan.py", "workspace.py", "__init__.py"}


@pytest.mark.parametrize("folder", ["envoy", "workspace"])
def test_no_module_hides_one_of_openfls(folder: str) -> None:
    assert not {path.name for path in (ROOT / folder).glob("*.py")} & TAKEN_BY_OPENFL


def test_the_director_and_the_start_scripts_have_no_python() -> None:
    """It is in the package of the nodes, so that it stands once."""
    assert not list((ROOT / "director").glob("*.py"))
    assert [path.name for path in (ROOT / "envoy").glob("*.py")] == ["superb_shard_descriptor.py"]


def test_the_top_level_is_complete() -> None:
    folders = ["director", "envoy", "node/superb_node", "workspace", "tests", "demo", "docs", "certificates"]
    files = [
        "README.md",
        "requirements.txt",
        "pyproject.toml",
        "Makefile",
        "CHANGELOG.md",
        "LICENSE",
        ".gitignore",
    ]
    room_files = ["director/start_director.sh", "director/director_config.yaml", "envoy/start_envoy.sh"]
    room_files += ["director/start_director_with_tls.sh", "envoy/start_envoy_with_tls.sh"]
    room_files += ["envoy/envoy_config.yaml", "envoy/superb_shard_descriptor.py", f"workspace/{NOTEBOOK}"]
    missing = [name for name in folders if not (ROOT / name).is_dir()]
    missing += [name for name in [*files, ".ci/run", *room_files] if not (ROOT / name).is_file()]
    assert not missing
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_has_a_place_for_what_comes() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_pyproject_is_for_tools_only() -> None:
    headings = re.findall(
        r"^\[+([^\]]+)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings
    assert all(heading.startswith("tool.") for heading in headings)


def test_make_alone_lists_every_target_and_variable() -> None:
    text = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in (
        "help",
        "demo",
        "test",
        "test-all",
        "lint",
        "lab",
        "certs",
        "data",
        "compare",
        "install",
        "clean",
    ):
        assert re.search(rf"^  {target} +\S", text, re.MULTILINE), target
    for default in (
        "NOTEBOOK=1",
        "ENVOYS=2",
        "PARTITION=iid",
        "ROUNDS=",
        "MODEL=",
        "TUNING=",
        "STRATEGY=",
        "BASELINE=",
        "DATA=synthetic",
        "TEST_DATA=",
        "SEED=0",
    ):
        assert re.search(rf"^  {re.escape(default)} +\S", text, re.MULTILINE), default


def test_files_that_share_a_federation_share_a_worker() -> None:
    """Files have a worker each otherwise, whatever else a fixture of theirs is called."""
    names = ("privacy", "services", "drills", "strategies", "tls", "approval")
    scopes = [scope_of(f"tests/federation/test_{name}.py") for name in names]
    own = [f"tests/federation/test_{name}.py" for name in names[4:]]
    assert scopes == ["lab", "lab", "trio", "trio", *own]


def make_with(python: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run `make .venv/.made` in an empty place with a Python that only knows its version."""
    minor = int(python.split(".")[1])
    stub = tmp_path / "python"
    # The version checks of the Makefile are Python: they are run by a real one that is told the version.
    stub.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo Python {python} && exit\n'
        f'[ "$1" = -c ] && exec {sys.executable} -c "import sys; sys.version_info = (3, {minor}); ${{2}}"\n'
    )
    stub.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"))
    return subprocess.run(
        ["make", "-s", ".venv/.made", f"PYTHON={stub}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_is_too_old_is_named_in_one_line(tmp_path: Path) -> None:
    made = make_with("3.9.18", tmp_path)
    assert made.returncode != 0
    assert "is Python 3.9.18; Python 3.10 or later is needed" in made.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("python", ["3.10.13", "3.13.0"])
def test_a_python_that_was_tried_passes_without_a_word(python: str, tmp_path: Path) -> None:
    assert "Python" not in make_with(python, tmp_path).stderr


def test_a_python_that_nobody_tried_passes_with_one_line(tmp_path: Path) -> None:
    assert "Python 3.14.1: nobody has tried this project with it yet" in make_with("3.14.1", tmp_path).stderr
