"""What make lists, which Pythons it takes, and that what it passes on arrives as it was typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from superb_ks.settings import STRATEGIES, TUNINGS

ROOT = Path(__file__).resolve().parents[1]
ODD = """my "d"'s #1 $HOME $(x) $(open é (b) \\ `id` ; & *"""
PATHS = ["/tmp/my data/sc", f"/tmp/{ODD}", "../beside it", "~/speech", " at its ends ", "-dash", "Grüße/語"]
# Writes down its arguments, one a line, where Python would run.
NOTING = '#!/bin/sh\nprintf "%s\\n" "$@" >> "$NOTED"\n'


@pytest.fixture(params=["plain", "a folder, 'odd' & $HOME"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the Makefile, whose environment counts as up to date and only notes what it is asked."""
    folder = tmp_path / request.param
    for name in (".venv/bin", "envoy", "node", "workspace"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    _program(folder / ".venv" / "bin" / "python", NOTING)
    for number, name in enumerate(["", "-extra", "-flower", "-dev"]):
        (folder / f"requirements{name}.txt").touch()
        (folder / ".venv" / ".made").touch()
        (folder / ".venv" / f".installed{name}").touch()
        for each in (f"requirements{name}.txt", ".venv/.made", f".venv/.installed{name}"):
            os.utime(folder / each, (number, number))
    for name in ("constraints.txt", "node/pyproject.toml"):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    os.utime(folder / ".venv" / ".made", (0, 0))
    return folder


def _program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    noted = {**os.environ, "NOTED": str(folder / "noted"), **environment}
    return subprocess.run(
        ["make", "-s", *arguments], cwd=folder, env=noted, capture_output=True, text=True, check=False
    )


def passed_on(folder: Path, *arguments: str) -> list[str]:
    made = make(folder, *arguments)
    assert made.returncode == 0, made.stderr
    return (folder / "noted").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("path", PATHS)
def test_a_folder_arrives_whole(checkout: Path, path: str) -> None:
    # Make drops blanks in front of a value.
    given, lead = (f"DATA={path}", f"TEST_DATA={path}"), path.lstrip()
    assert passed_on(checkout, "check-data", *given) == [
        "-m", "speech_commands.check", f"--test-data={lead}", "--", lead,
    ]  # fmt: skip
    (checkout / "noted").unlink()
    asked = passed_on(checkout, "demo", *given, f"MODEL={path}", f"BASELINE={path}", f"NOTEBOOK={path}")
    names = ("notebook", "data", "test-data", "model", "baseline")
    assert {f"--{name}={lead}" for name in names} <= set(asked)
    (checkout / "noted").unlink()
    for target, module in (("compare", "benchmarks.compare"), ("bench-engines", "benchmarks.engines")):
        asked = passed_on(checkout, target, *given)
        assert asked[1:4] == [module, f"--data={lead}", f"--test-data={lead}"]
        (checkout / "noted").unlink()


@pytest.mark.parametrize("path", PATHS)
def test_a_run_arrives_whole(checkout: Path, path: str) -> None:
    asked = passed_on(checkout, "export", f"RUN={path}", f"TEST_DATA={path}")
    lead = path.lstrip()
    assert asked == ["-m", "superb_notebook.export", f"--test-data={lead}", "--", lead]
    (checkout / "noted").unlink()
    assert passed_on(checkout, "export") == ["-m", "superb_notebook.export", "--", "runs/latest"]


def test_the_comparison_is_run_as_it_was_asked_for(checkout: Path) -> None:
    for given, quick, again in (("QUICK=1", "1", ""), ("AGAIN=1", "", "1"), ("QUICK=", "", "")):
        (checkout / "noted").unlink(missing_ok=True)
        asked = passed_on(checkout, "compare", given)
        options = ["--data=synthetic", "--test-data=", f"--quick={quick}", f"--again={again}"]
        assert asked == ["-m", "benchmarks.compare", *options]


def test_no_recipe_takes_the_users_run_for_a_program() -> None:
    assert "$(RUN)" not in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_files_own_values_have_no_blanks(checkout: Path) -> None:
    assert passed_on(checkout, "demo") == [
        "-m", "demo", "--engine=openfl", "--notebook=1", "--envoys=2", "--partition=iid", "--alpha=0.5",
        "--rounds=", "--model=", "--tuning=", "--strategy=", "--baseline=", "--track=", "--data=synthetic",
        "--test-data=", "--seed=0",
    ]  # fmt: skip


def test_the_board_installs_what_it_needs_once(checkout: Path) -> None:
    assert passed_on(checkout, "board", "BOARD_OPTIONS=--port 6007") == [
        "-m", "tensorboard.main", "--logdir", "runs", "--port", "6007",
    ]  # fmt: skip
    (checkout / ".venv" / ".installed-extra").unlink()
    for installs in (True, False):
        (checkout / "noted").unlink()
        asked = passed_on(checkout, "board")
        assert ("requirements-extra.txt" in asked) == installs
        assert asked[-2:] == ["--logdir", "runs"]


def test_a_simulation_has_its_own_partition_unless_one_is_given(checkout: Path) -> None:
    own, given = passed_on(checkout, "simulate"), passed_on(checkout, "simulate", "PARTITION=iid")
    assert own[:5] == ["-m", "simulation", "--clients=200", "--fraction=0.05", "--evaluate=1"]
    assert "--partition=" in own
    assert "--partition=iid" in given


def test_a_demo_on_flower_installs_it_once(checkout: Path) -> None:
    (checkout / ".venv" / ".installed-flower").unlink()
    for installs in (True, False):
        (checkout / "noted").unlink(missing_ok=True)
        asked = passed_on(checkout, "demo", "ENGINE=flower")
        assert ("requirements-flower.txt" in asked) == installs
        assert asked[asked.index("demo") :][1] == "--engine=flower"


def test_the_notebook_of_simulations_installs_flower(checkout: Path) -> None:
    for number, installs in (("4", False), ("5", True)):
        (checkout / ".venv" / ".installed-flower").unlink(missing_ok=True)
        (checkout / "noted").unlink(missing_ok=True)
        asked = passed_on(checkout, "demo", f"NOTEBOOK={number}")
        assert ("requirements-flower.txt" in asked) == installs
        assert f"--notebook={number}" in asked


def test_lab_opens_the_notebook_and_installs_what_it_needs_once(checkout: Path) -> None:
    for name in ("2_tuning.ipynb", "5_hundreds.ipynb", "6_your own voice.ipynb"):
        (checkout / "workspace" / name).touch()
    tutorial = "PyTorch_Huggingface_transformers_SUPERB.ipynb"
    needs = {"1": "", "2": "", "5": "-flower", "6": "-extra", "6_your own voice.ipynb": "-extra"}
    opened = {"1": tutorial, "2": "2_tuning.ipynb", "5": "5_hundreds.ipynb", "6": "6_your own voice.ipynb"}
    for notebook, kind in needs.items():
        for again in (False, True):
            for other in ("-extra", "-flower"):
                if not again:
                    (checkout / ".venv" / f".installed{other}").unlink(missing_ok=True)
            (checkout / "noted").unlink(missing_ok=True)
            asked = passed_on(checkout, "lab", f"NOTEBOOK={notebook}")
            installs = [
                line for line in asked if line in ("requirements-extra.txt", "requirements-flower.txt")
            ]
            assert installs == ([f"requirements{kind}.txt"] if kind and not again else [])
            assert asked[-2:] == ["jupyterlab", opened.get(notebook, notebook)]
    (checkout / "notes.ipynb").touch()
    assert passed_on(checkout, "lab", "NOTEBOOK=notes.ipynb")[-1] == "../notes.ipynb"
    refused = make(checkout, "lab", "NOTEBOOK=9")
    assert refused.returncode != 0
    assert "make lab NOTEBOOK=9: no such notebook; legal: 1 to 6, or a file\n" in refused.stderr


def test_lists_of_options_are_read_as_a_shell_reads_them(checkout: Path) -> None:
    def options(*arguments: str) -> list[str]:
        (checkout / "noted").unlink(missing_ok=True)
        return passed_on(checkout, *arguments)[2:]

    assert options("test-all", "TESTS=tests/demo -k 'a b'") == ["-n", "2", "tests/demo", "-k", "a b"]
    (checkout / "my tests").mkdir()
    assert options("test", "TESTS=my tests") == ["-n", "2", "-m", "not slow", "my tests"]
    assert options("lab", "LAB_OPTIONS=--no-browser --notebook-dir='/a $b'")[1:] == [
        "--no-browser", "--notebook-dir=/a $b",
    ]  # fmt: skip
    assert options("certs", "HOST=gpu1 10.0.0.5", "ENVOYS=x * y", "CERTS_OPTIONS=--folder '/my $certs'") == [
        "--user=notebook", "--host", "gpu1", "10.0.0.5", "--envoys", "x", "*", "y", "--folder", "/my $certs",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["py thon", "it's $HOME", "ümlaut (1)"])
def test_any_python_makes_the_environment(checkout: Path, name: str) -> None:
    shutil.rmtree(checkout / ".venv")
    (checkout / ".home" / name).mkdir(parents=True)
    _program(checkout / ".home" / name / "python", f"{NOTING}mkdir -p .venv\n")
    for place in (f"{checkout}/.home/{name}/python", f".home/{name}/python", f"~/{name}/python"):
        shutil.rmtree(checkout / ".venv", ignore_errors=True)
        made = make(checkout, ".venv/.made", f"PYTHON={place}", HOME=str(checkout / ".home"))
        assert made.returncode == 0, made.stderr
        assert (checkout / ".venv" / ".made").is_file()
    assert (checkout / "noted").read_text(encoding="utf-8").splitlines()[-3:] == ["-m", "venv", ".venv"]


def test_a_corpus_is_checked_in_the_folder_that_was_typed(checkout: Path) -> None:
    """With the real command: relative paths count from where make runs."""
    _program(checkout / ".venv" / "bin" / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (checkout / "envoy" / "speech_commands").symlink_to(ROOT / "envoy" / "speech_commands")
    (checkout / "beside" / "my data").mkdir(parents=True)
    for typed in ("beside/my data", str(checkout / "beside" / "my data"), "~/my data"):
        made = make(checkout, "check-data", f"DATA={typed}", HOME=str(checkout / "beside"))
        missing = checkout / "beside" / "speech_commands_test_set_v0.01"
        expected = f"error: {missing}: no such folder; the test archive is expected next to data_dir"
        assert expected in made.stderr


@pytest.mark.parametrize(("variable", "known"), [("STRATEGY", STRATEGIES), ("TUNING", TUNINGS)])
def test_the_help_names_every_strategy_and_tuning(variable: str, known: dict[str, object]) -> None:
    """The demo reads the same two lists; a Makefile cannot."""
    (line,) = re.findall(
        rf"^{variable} =.*## demo, simulate: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert [choice.split()[0] for choice in line.split(" | ")] == list(known)


def test_clean_stays_in_its_folder(checkout: Path) -> None:
    kept = [checkout / "runs" / "20300101-000000", checkout / "envoy" / "personal" / "env_one"]
    kept += [checkout.parent / "__pycache__"]
    gone = [checkout / name for name in ("runs/.partial-1 2", "envoy/a b/__pycache__", ".venv")]
    for folder in (*kept, *gone):
        folder.mkdir(parents=True, exist_ok=True)
    assert make(checkout, "clean").returncode == 0
    assert all(folder.is_dir() for folder in kept)
    assert not any(folder.exists() for folder in gone)


def test_make_alone_lists_every_target_and_variable() -> None:
    text = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split()
    assert {"help", "demo", "test", "lint", "lab"} <= set(targets)
    unlisted = [target for target in targets if not re.search(rf"^  {target} +\S", text, re.MULTILINE)]
    assert not unlisted
    for default in (
        "NOTEBOOK=1",
        "ENVOYS=2",
        "PARTITION=iid",
        "ROUNDS=",
        "MODEL=",
        "TUNING=",
        "STRATEGY=",
        "BASELINE=",
        "TRACK=",
        "DATA=synthetic",
        "TEST_DATA=",
        "SEED=0",
    ):
        assert re.search(rf"^  {re.escape(default)} +\S", text, re.MULTILINE), default


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
