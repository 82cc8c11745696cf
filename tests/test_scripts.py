"""The start scripts and make, in folders and shells that are not set up for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from superb_node.work_folder import OF_ONE_NODE

ROOT = Path(__file__).resolve().parents[1]
ROLES = ("envoy", "director")
REQUIREMENTS = {"envoy": "pip install -r sd_requirements.txt", "director": "pip install -e ../node"}
OPENFL = "pip install --no-deps --ignore-requires-python openfl==1.7.1"
_NOT_COPIED = shutil.ignore_patterns(*OF_ONE_NODE, "__pycache__")


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python to which nothing was added."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python3"


@pytest.fixture(scope="session")
def node_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python to which the nodes' package was added, and nothing that it needs."""
    folder = tmp_path_factory.mktemp("node")
    venv.create(folder, symlinks=True)
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    (site_packages / "node.pth").write_text(f"{ROOT / 'node'}\n")
    return folder / "bin" / "python3"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """The two folders, copied elsewhere."""
    for role in ROLES:
        shutil.copytree(ROOT / role, tmp_path / role, ignore=_NOT_COPIED)
    return tmp_path


def system(folder: Path, **pythons: Path) -> str:
    """Return a PATH on which the scripts find bash, dirname and those Pythons, and nothing else."""
    folder.mkdir()
    for name in ("bash", "dirname"):
        (folder / name).symlink_to(str(shutil.which(name)))
    for name, python in pythons.items():  # a link to it would be the Python that it was made from
        (folder / name).write_text(f'#!/bin/sh\nexec {python} "$@"\n')
        (folder / name).chmod(0o755)
    return str(folder)


def bash(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run bash in a shell of HOME and some variables."""
    return subprocess.run(
        [str(shutil.which("bash")), *command],
        cwd=cwd,
        env={"HOME": str(cwd), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_both_folders_find_python_in_the_same_way() -> None:
    one, other = ((ROOT / role / "python.sh").read_text(encoding="utf-8") for role in ROLES)
    assert one == other


@pytest.mark.parametrize("name", ["python3", "python"])
@pytest.mark.parametrize("role", ROLES)
def test_a_system_may_call_it_either_way(folders: Path, node_python: Path, role: str, name: str) -> None:
    path = system(folders / "bin", **{name: node_python})
    result = bash("review.sh", "list", cwd=folders / role, PATH=path)
    assert (result.returncode, result.stderr) == (0, "")


def test_which_python_is_taken_first(folders: Path, node_python: Path) -> None:
    tell = ("-c", "import sys; print(sys.prefix)")
    for place in ("mine/bin", ".venv/bin", "active/bin"):
        (folders / place).mkdir(parents=True)
        (folders / place / "python").write_text(f"#!/bin/sh\necho {place}\n")
        (folders / place / "python").chmod(0o755)
    path = system(folders / "bin", python3=node_python)
    mine, active = str(folders / "mine/bin/python"), str(folders / "active")

    def taken(**variables: str) -> str:
        return bash("python.sh", *tell, cwd=folders / "envoy", PATH=path, **variables).stdout.strip()

    assert taken(PYTHON=mine, VIRTUAL_ENV=active) == "mine/bin"
    assert taken(VIRTUAL_ENV=active) == "active/bin"
    assert taken(VIRTUAL_ENV=str(folders / "removed")) == ".venv/bin"
    assert taken() == ".venv/bin"
    shutil.rmtree(folders / ".venv")
    assert taken() == str(node_python.parents[1])


@pytest.mark.parametrize(("role", "script"), [("envoy", "start_envoy.sh"), ("director", "start_director.sh")])
@pytest.mark.parametrize("own", [{}, {"PYTHON": "/no/such/python"}])
def test_without_python_the_one_thing_to_do_is_said(
    folders: Path, role: str, script: str, own: dict[str, str]
) -> None:
    result = bash(script, cwd=folders / role, PATH=system(folders / "bin"), **own)
    missing = own.get("PYTHON", "python")
    assert result.stderr == (
        f"{role}: there is no program '{missing}': install Python 3.10 or later, "
        "or name it: PYTHON=/path/to/python3\n"
    )
    assert result.returncode == 2


@pytest.mark.parametrize(("role", "script"), [("envoy", "start_envoy.sh"), ("director", "start_director.sh")])
def test_a_python_that_is_too_old_is_named(folders: Path, role: str, script: str) -> None:
    old = folders / "old python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.18 && exit\nexit 1\n')
    old.chmod(0o755)
    result = bash(script, cwd=folders / role, PATH=os.environ["PATH"], PYTHON=str(old))
    assert result.returncode == 2
    assert result.stderr == (
        f"{role}: '{old}' is Python 3.9.18: Python 3.10 or later is needed: PYTHON=/path/to/python3\n"
    )


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("envoy", ["start_envoy.sh"]),
        ("envoy", ["start_envoy_with_tls.sh", "clinic", "localhost"]),
        ("envoy", ["review.sh"]),
        ("director", ["start_director.sh"]),
        ("director", ["start_director_with_tls.sh", "localhost"]),
    ],
)
def test_without_the_nodes_package_the_commands_are_said(
    folders: Path, bare_python: Path, role: str, command: list[str]
) -> None:
    result = bash(*command, cwd=folders / role, PATH=system(folders / "bin", python3=bare_python))
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{role}: no superb_node for python3. In this folder, ")
    assert REQUIREMENTS[role] in line
    assert OPENFL in line


@pytest.mark.parametrize(
    ("role", "script", "who"),
    [
        ("envoy", "start_envoy.sh", "envoy"),
        ("envoy", "start_supernode.sh", "supernode"),
        ("director", "start_director.sh", "director"),
        ("director", "start_superlink.sh", "superlink"),
    ],
)
def test_without_what_it_needs_the_commands_are_said(
    folders: Path, node_python: Path, role: str, script: str, who: str
) -> None:
    result = bash(script, cwd=folders / role, PATH=system(folders / "bin", python3=node_python))
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{who}: No module named ")
    assert REQUIREMENTS[role] in line
    assert OPENFL in line


def test_a_library_that_the_descriptor_lacks_is_no_mistake_in_the_config(folders: Path) -> None:
    (folders / "envoy" / "own_shard.py").write_text("import no_such_library\n")
    (folders / "envoy" / "own.yaml").write_text("shard_descriptor: {template: own_shard.Shard}\n")
    result = bash(
        "start_envoy.sh", "clinic", "own.yaml", cwd=folders / "envoy",
        PATH=os.environ["PATH"], PYTHON=sys.executable,
    )  # fmt: skip
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("envoy: No module named 'no_such_library' for ")


def strange_shells(folder: Path, *modules: str) -> dict[str, dict[str, str]]:
    """Return what shells may have set, with modules of other people that are named like ours."""
    for module in modules:
        (folder / "foreign" / module).mkdir(parents=True)
        (folder / "foreign" / module / "__init__.py").write_text("raise SystemExit('foreign')")
    (folder / "elsewhere" / "envoy").mkdir(parents=True)
    (folder / "profile").write_text("set -eu\n")
    return {
        "safe path": {"PYTHONSAFEPATH": "1"},
        "foreign modules": {"PYTHONPATH": str(folder / "foreign")},
        "another Python's library": {"PYTHONHOME": "/nowhere"},
        "no bytecode": {"PYTHONDONTWRITEBYTECODE": "1"},
        "cd goes elsewhere": {"CDPATH": str(folder / "elsewhere")},
        "a profile": {"BASH_ENV": str(folder / "profile")},
        "POSIX": {"POSIXLY_CORRECT": "1"},
    }


def test_scripts_run_in_strange_shells(folders: Path) -> None:
    plain = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}
    config = ["start_envoy.sh", "env_one", "no_such.yaml"]
    for name, variables in strange_shells(folders, "certificates", "approval").items():
        for cwd, prefix in ((folders, "envoy/"), (folders / "envoy", "")):
            review = bash(f"{prefix}review.sh", "list", cwd=cwd, **plain, **variables)
            assert (review.returncode, review.stderr) == (0, ""), name
            start = bash(prefix + config[0], *config[1:], cwd=cwd, **plain, **variables)
            assert start.stderr == "envoy: no envoy config at no_such.yaml\n", name


def test_targets_of_make_run_in_strange_shells(tmp_path: Path) -> None:
    """In this folder, with this interpreter in place of the one that make installs."""
    done = tmp_path / "venv"
    done.mkdir()
    for stamp in (".made", ".installed", ".installed-dev"):
        (done / stamp).touch()
    make = ["make", "-s", f"VENV={done}", f"VENV_PYTHON={os.path.relpath(sys.executable, ROOT)}"]
    targets = {"certs CERTS_OPTIONS=--help": "usage: ", "data SEED=none": "usage: "}
    for name, variables in strange_shells(tmp_path, "demo", "speech_commands", "certificates").items():
        # The demo imports for seconds.
        demo = {"demo ENVOYS=none": "demo: "} if name in ("safe path", "foreign modules") else {}
        for target, answer in {**targets, **demo}.items():
            environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **variables}
            result = subprocess.run(
                [*make, *target.split()],
                cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (result.stdout + result.stderr).startswith(answer), (name, result.stderr)
