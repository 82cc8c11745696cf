"""Files are read as what they are, whatever the terminal speaks, and terminals get what they can show."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("node", "envoy", "workspace", "demo", "certificates", "pretraining", "benchmarks")
# Python without UTF-8 in a terminal that knows ASCII alone.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MODE = re.compile(r"[rwaxbt+]{1,4}")


def without_encoding(source: str) -> list[int]:
    """Return the lines that open a text without saying in which encoding it is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(given.arg == "encoding" for given in node.keywords):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        mode = next((text for text in texts if isinstance(text, str) and MODE.fullmatch(text)), None)
        # What is opened without a mode may be an archive, or a clip of a table, but not if nothing is named.
        opens_text = "b" not in mode if mode else not node.args or isinstance(node.func, ast.Name)
        positional = len(node.args) > (name == "write_text")
        if (name in ("read_text", "write_text") and not positional) or (
            name in ("open", "fdopen") and opens_text
        ):
            found.append(node.lineno)
    return found


def test_what_is_looked_for_is_found() -> None:
    bad = [
        "p.read_text()",
        "p.write_text(x)",
        "open(p)",
        "open(p, 'a')",
        "p.open()",
        "p.open('w')",
        "os.fdopen(1, 'w')",
    ]
    good = [
        "p.read_text('utf-8')",
        "p.open('rb')",
        "open(p, 'r+b')",
        "tarfile.open(p)",
        "open(p, encoding='utf-8')",
    ]
    assert [len(without_encoding(source)) for source in bad + good] == [1] * len(bad) + [0] * len(good)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_is_opened_with_its_encoding(folder: str) -> None:
    paths = [path for path in (ROOT / folder).rglob("*.py") if "work" not in path.relative_to(ROOT).parts]
    assert paths
    found = {str(path): without_encoding(path.read_text(encoding="utf-8")) for path in paths}
    assert not {path: lines for path, lines in found.items() if lines}


def run(folder: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT / folder, env={**os.environ, **ASCII},
        capture_output=True, encoding="ascii", timeout=120, check=False,
    )  # fmt: skip


LOAD = """
from pathlib import Path
from {module} import {config}
print({config}.load(Path({path!r})).{field})
"""


@pytest.mark.parametrize(
    ("folder", "config", "field", "value"),
    [
        ("director", "DirectorConfig", "listen_port", "50050"),
        ("envoy", "EnvoyConfig", "descriptor", "superb_shard_descriptor.SuperbShardDescriptor"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows line ends"])
def test_our_configs_load(
    tmp_path: Path, folder: str, config: str, field: str, value: str, encoding: str
) -> None:
    """As they are, and as Windows' Notepad saves them."""
    text = (ROOT / folder / f"{folder}_config.yaml").read_text(encoding="utf-8") + "# … Grüße\n"
    path = tmp_path / "config.yaml"
    if encoding == "windows line ends":
        path.write_bytes(text.replace("\n", "\r\n").encode())
    else:
        path.write_text(text, encoding=encoding)
    source = LOAD.format(module=f"superb_node.{folder}.config", config=config, path=str(path), field=field)
    loaded = run(folder, "-c", source)
    assert loaded.stdout == f"{value}\n", loaded.stderr


@pytest.mark.parametrize("folder", ["director", "envoy"])
def test_a_config_in_another_encoding_is_said_in_one_line(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("settings: {}  # Grüße\n".encode("latin-1"))
    refused = run(folder, "-m", f"superb_node.{folder}", "--config", str(path))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{folder}: {path} is not a YAML file")
    assert len(refused.stderr.splitlines()) == 1, refused.stderr


def test_a_folder_that_the_terminal_cannot_show_is_shown_in_escapes(tmp_path: Path) -> None:
    missing = run("envoy", "-m", "speech_commands.check", str(tmp_path / "Grüße"))
    assert missing.returncode == 2
    assert "Gr\\xfc\\xdfe" in missing.stderr or "Gr\\udcc3\\udcbc\\udcc3\\udc9fe" in missing.stderr
    made = run(".", "-m", "certificates", "--folder", str(tmp_path / "Schlüssel"))
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "Schlüssel" / "director" / "certificate.pem").is_file()
    assert "Take each folder of " in made.stdout and "Schl\\u" in made.stdout


def test_the_digests_of_a_list_that_notepad_saved(tmp_path: Path) -> None:
    (tmp_path / "digests.txt").write_text(f"{'a' * 64}  # …\r\n", encoding="utf-8-sig")
    source = "from pathlib import Path; from superb_node.approval.settings import read_digests\n"
    read = run("envoy", "-c", f"{source}print(read_digests(Path({str(tmp_path / 'digests.txt')!r})))")
    assert read.stdout == f"{{'{'a' * 64}'}}\n", read.stderr
