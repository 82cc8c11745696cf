"""What an experiment may read on an envoy, and what it finds in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from superb_node.envoy import landlock
from superb_node.envoy.confinement import shard_paths
from superb_node.envoy.models import provide
from superb_node.work_folder import MARKER

SHOW = """
import os
from superb_node.envoy.confinement import forget_secrets
forget_secrets()
print(os.environ.get("OMP_NUM_THREADS"), os.environ.get("PATH"))
print(sorted(name for name in os.environ if name in {names!r}))
if os.path.exists("/proc/self/environ"):
    print([word for word in {secrets!r} if word in open("/proc/self/environ").read()])
import subprocess, sys
started = [sys.executable, "-c", "import os; print('HF_TOKEN' in os.environ)"]
print(subprocess.run(started, capture_output=True).stdout)
"""
SECRETS = {
    "HF_TOKEN": "hf_abc",
    "AWS_SECRET_ACCESS_KEY": "aws-abc",
    "DATABASE_URL": "postgres://me:abc@db",
    "HTTPS_PROXY": "http://me:abc-proxy@proxy",
    "SSH_AUTH_SOCK": "/run/abc.sock",
    "CUDA_API_TOKEN": "cuda-abc",
}


def test_secrets_of_the_environment_are_gone() -> None:
    source = SHOW.format(names=list(SECRETS), secrets=list(SECRETS.values()))
    shown = subprocess.run(
        [sys.executable, "-c", source], env={**os.environ, **SECRETS, "OMP_NUM_THREADS": "3"},
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert shown[0] == f"3 {os.environ['PATH']}"
    assert set(shown[1:-1]) == {"[]"}
    assert shown[-1] == r"b'False\n'"


@pytest.mark.parametrize(
    ("descriptor", "parameters", "paths"),
    [
        (SimpleNamespace(), {"data": "{}/a", "more": [{"test": "{}/b"}], "rank": "1, 2", "n": 3}, ["a", "b"]),
        (SimpleNamespace(), {"data": "{}/not_there", "empty": ""}, []),
        (SimpleNamespace(paths=["{}/b"]), {"data": "{}/a"}, ["b"]),
        (SimpleNamespace(paths=[]), {"data": "{}/a"}, []),
    ],
)
def test_where_the_data_are(tmp_path: Path, descriptor: Any, parameters: dict, paths: list[str]) -> None:
    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [placed(inner) for inner in value]
        return value.format(tmp_path) if isinstance(value, str) else value

    for name in "ab":
        (tmp_path / name).mkdir()
    described = SimpleNamespace(**placed(vars(descriptor)))
    assert shard_paths(described, placed(parameters)) == tuple(tmp_path / name for name in paths)


def test_a_folder_is_opened_to_an_experiment_only_if_it_holds_a_model(
    tmp_path: Path,
) -> None:
    """Its author names the folder, which could be any."""
    assert provide(str(tmp_path)) is None
    (tmp_path / "config.json").touch()
    assert provide(str(tmp_path)) is None
    (tmp_path / "model.safetensors").touch()
    assert provide(str(tmp_path)) == tmp_path
    assert provide("tiny") is provide("scratch") is provide("") is None


def test_a_folder_that_others_could_exchange_stays_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "work" / "env_two" / "env_two_spy" / "model"
    model.mkdir(parents=True)
    (model / "config.json").touch()
    (model / "model.safetensors").touch()
    assert provide(str(model)) == model
    if os.geteuid() == 0:
        os.chown(model, 12345, 12345)
    else:  # stands in for a folder of somebody else's, which only root can make
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert provide(str(model)) is None
    if os.geteuid() == 0:
        os.chown(model, 0, 0)
    monkeypatch.undo()
    (model.parents[1] / MARKER).touch()
    assert provide(str(model)) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"The experiment's model folder {model} stays closed: it belongs to another account",
        f"The experiment's model folder {model} stays closed: experiments can write there",
    ]


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_a_model_that_gives_way_to_a_link_opens_nothing_else(tmp_path: Path) -> None:
    for name in ("model", "own"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret").write_text("key")
    code = """
own = Path(sys.argv[1])
model, secret = own.parent / "model", own.parent / "secret"
model.rename(own.parent / "gone")
model.symlink_to("/")
if (child := os.fork()) == 0:
    confine(own, [], model, 1)
    print(secret.read_text(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    shown = subprocess.run(
        [sys.executable, "-c", CONFINED.partition("{before}")[0] + code, tmp_path / "own"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert shown.stdout == ""
    assert "model was exchanged for a link; it stays closed" in shown.stderr


CONFINED = """
import os, sys
from pathlib import Path
from superb_node.envoy.confinement import confine
{before}
if worker := os.fork():  # libraries have threads, a forked process has none of them
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
confine(Path(sys.argv[1]), [], None, 1)
{code}
"""


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
@pytest.mark.parametrize(
    ("before", "code"),
    [
        ("", "import tempfile; tempfile.TemporaryFile().write(b'x')"),
        ("import torch", "torch.ones(300, 300) @ torch.ones(300, 300)"),
        ("import torch", "torch.ones(3).share_memory_()"),
        ("import librosa, numpy", "librosa.resample(numpy.ones(8000), orig_sr=8000, target_sr=16000)"),
        ("import superb_node.envoy.landlock", "import superb_node.names"),
        ("", "import socket; socket.getaddrinfo('localhost', 80)"),
        (
            "",
            "import multiprocessing as m; p = m.get_context('fork').Pool(2); assert p.map(abs, [-1]) == [1]",
        ),
    ],
)
def test_what_training_needs_works(tmp_path: Path, before: str, code: str) -> None:
    """In a folder that nobody else may enter, as an experiment's own."""
    result = subprocess.run(
        [sys.executable, "-c", CONFINED.format(before=before, code=code), tmp_path],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_a_model_of_the_hub_is_found_in_the_cache_and_the_token_is_not(tmp_path: Path) -> None:
    hub, own = tmp_path / "hub", tmp_path / "own"
    snapshot = hub / "models--someone--small" / "snapshots" / "abc"
    for folder in (snapshot, snapshot.parents[1] / "refs", own):
        folder.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "wav2vec2"}')
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (tmp_path / "token").write_text("hf_abc")
    code = """
assert AutoConfig.from_pretrained("someone/small").model_type == "wav2vec2"
try:
    print(open(os.path.join(os.environ["HF_HOME"], "token")).read())
except PermissionError:
    print("refused")
"""
    shown = subprocess.run(
        [sys.executable, "-c", CONFINED.format(before="from transformers import AutoConfig", code=code), own],
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert shown.stdout == "refused\n", shown.stderr
