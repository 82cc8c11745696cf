"""How many threads an envoy takes: cores by affinity and quota, divided among its director's envoys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from superb_node.envoy import threads as envoy_threads
from superb_node.envoy.libraries import take_threads
from superb_node.envoy.threads import envoys_of, fair_threads, usable_cores

STAND_IN = "import sys; print('up', flush=True); sys.stdin.read()"


def envoy(name: str, port: str) -> list[str]:
    options = ["--name", f"env_{name}", "--director-host", "a", "--director-port", port]
    return ["-m", "superb_node.envoy", *options]


def started_by_script(name: str, port: str) -> list[str]:
    """What `start_envoy.sh` says."""
    options = [f"--name=env_{name}", "--config=a=b.yaml", "--director-host=a", f"--director-port={port}"]
    return ["-m", "superb_node.envoy", *options]


def supernode(name: str, port: str) -> list[str]:
    """What Linux says of Flower's script, which `superb_node.flower.supernode` becomes."""
    told = f'--node-config=name="env_{name}" envoy-config="/x/envoy_config.yaml" superlink="a:{port}"'
    return ["./flower-supernode", f"--superlink=a:{port}", told, "--insecure"]


@pytest.fixture(params=[envoy, started_by_script, supernode])
def four_envoys(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Command lines of three envoys of the director at a:50050, one of them twice, and of one of another."""
    (tmp_path / "superb_node").mkdir()
    (tmp_path / "superb_node" / "__init__.py").touch()
    for script in (tmp_path / "superb_node" / "envoy.py", tmp_path / "flower-supernode"):
        script.write_text(STAND_IN)
    started = []
    try:
        for name, port in [*zip(("one", "two", "two", "three"), ["50050"] * 4, strict=True), ("one", "5005")]:
            command = [sys.executable, *request.param(name, port)]
            started.append(
                subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
        for process in started:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_the_envoys_of_the_same_director_are_counted(four_envoys: None) -> None:
    assert envoys_of("a", "50050") == 3
    assert envoys_of("a", "5005") == 1
    assert envoys_of("b", "50050") == 1  # itself


@pytest.mark.parametrize(("cores", "share"), [(1, 1), (2, 1), (3, 1), (8, 2)])
def test_cores_are_divided_and_nobody_goes_without(
    four_envoys: None, cores: int, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy_threads, "usable_cores", lambda: cores)
    assert fair_threads("a", "50050") == share


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/", {"cpu.max": "250000 100000"}, 2),  # rounded down
        ("0::/a", {"a/cpu.max": "50000 100000", "cpu.max": "400000 100000"}, 1),  # half a core
        ("0::/docker/1", {"cpu.max": "200000 100000"}, 2),  # a path that is not there in the container
        ("3:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"}, 4),
        ("3:cpu:/docker/1", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        ("4:cpuset:/\n0::/", {}, 16),
        ("", {}, 16),
    ],
)
def test_quotas_of_control_groups(
    cgroup: str, files: dict[str, str], cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/{name}": files[name] for name in files}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n" if text else "")
    monkeypatch.setattr(envoy_threads, "PROCESSES", tmp_path / "proc")
    monkeypatch.setattr(envoy_threads, "CGROUPS", tmp_path / "sys")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert usable_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of processes")
def test_affinity_counts() -> None:
    source = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
    source += "from superb_node.envoy.threads import usable_cores; print(usable_cores())"
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert result.stdout == "1\n", result.stderr


@pytest.mark.parametrize(("own", "threads"), [("", 5), ("3", 1)])
def test_an_owner_who_says_how_many_is_obeyed(
    own: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `cpu_threads` says is in OMP_NUM_THREADS before PyTorch is imported."""
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    monkeypatch.setattr(envoy_threads, "usable_cores", lambda: 5)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        take_threads("nobody", "1")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
