"""Starting and stopping an envoy: its config, its folder, its signals."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import envoy_service
from envoy_service import MARKER, ConfigError, EnvoyConfig, build_descriptor, own_work_folder

ENVOY = Path(__file__).resolve().parents[2] / "envoy"


@pytest.fixture(autouse=True)
def work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(envoy_service, "WORK_FOLDER", tmp_path / "work")
    return tmp_path / "work"


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_the_config_that_is_shipped():
    shipped = EnvoyConfig.load(ENVOY / "envoy_config.yaml")
    assert shipped.descriptor == "superb_shard_descriptor.SuperbShardDescriptor"
    assert shipped.descriptor_params["rank_worldsize"] == "1, 2"
    assert shipped.cuda_devices == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params: {cuda: [0]}", "unknown setting params.cuda; legal are cuda_devices, cpu_threads"),
        ("shard_descriptor: {template: nowhere}", "template must be module.Class"),
        ("params: {cpu_threads: 0}\nshard_descriptor: {template: a.B}", "is 0; legal are null or 1 and more"),
        ("params: [1", "is not a YAML file of sections"),
    ],
)
def test_mistakes_are_named_with_what_is_legal(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        EnvoyConfig.load(config(tmp_path, text))


def test_a_missing_config(tmp_path):
    with pytest.raises(ConfigError, match="no envoy config at .*nowhere.yaml"):
        EnvoyConfig.load(tmp_path / "nowhere.yaml")


def test_a_descriptor_that_cannot_be_made_is_named():
    with pytest.raises(ConfigError, match="shard_descriptor.template no_such_module.Shard: No module named"):
        build_descriptor(EnvoyConfig("no_such_module.Shard"))
    with pytest.raises(ValueError, match="colour.*legal values: source"):
        build_descriptor(EnvoyConfig("superb_shard_descriptor.SuperbShardDescriptor", {"colour": "red"}))
    with pytest.raises(ConfigError, match="shard_descriptor.params: .*colour"):
        build_descriptor(EnvoyConfig("fractions.Fraction", {"colour": "red"}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"source": "folder", "data_dir": "/no/such/folder"}, "/no/such/folder"),
        ({"rank_worldsize": "3, 2"}, "rank_worldsize is '3, 2'; the rank must be 1 to 2"),
        ({"partition": "random"}, "partition.*random.*iid.*speaker"),
    ],
)
def test_a_mistake_about_the_data_ends_the_envoy_with_one_line(tmp_path, params, message):
    import yaml

    shard = {"template": "superb_shard_descriptor.SuperbShardDescriptor", "params": params}
    path = config(tmp_path, yaml.safe_dump({"shard_descriptor": shard}))
    result = subprocess.run(
        [sys.executable, ENVOY / "envoy_service.py", "--config", path],
        cwd=ENVOY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    import re

    assert re.search(message, result.stderr), result.stderr


def refused(option: str) -> str:
    """Start an envoy that must end with an error; return what it says."""
    result = subprocess.run(
        [sys.executable, ENVOY / "envoy_service.py", option],
        cwd=ENVOY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    return result.stderr


@pytest.mark.parametrize("port", ["abc", "99999", "80", "-1", "²"])
def test_illegal_ports(port):
    message = f"envoy: the director's port is {port!r}; legal are 1024 to 65535\n"
    assert refused(f"--director-port={port}") == message


@pytest.mark.parametrize("name", ["", "../x", "1a", "a b", "a" * 64])
def test_illegal_names(name):
    assert f"envoy: envoy name {name!r}: legal are a letter" in refused(f"--name={name}")


def test_the_work_folder_is_ours_alone_and_goes_at_the_end(work):
    before = Path.cwd()
    with own_work_folder("env_one") as folder:
        assert Path.cwd() == folder == work / "env_one"
        with (
            pytest.raises(ConfigError, match="an envoy named env_one already runs from"),
            own_work_folder("env_one"),
        ):
            pass
        with own_work_folder("env_two"):
            pass
    assert Path.cwd() == before
    assert {path.name for path in work.iterdir()} == {".env_one.lock", ".env_two.lock"}


def test_only_what_carries_our_marker_is_swept(work):
    remains = work / "env_one"
    remains.mkdir(parents=True)
    (remains / "env_one_exp").mkdir()
    (remains / MARKER).touch()
    with own_work_folder("env_one") as folder:
        assert [path.name for path in folder.iterdir()] == [MARKER]

    foreign = work / "env_two"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(ConfigError, match="env_two holds files that are not the envoy's"),
        own_work_folder("env_two"),
    ):
        pass
    assert (foreign / "thesis.txt").exists()


LOOP = """
import sys, time
sys.path.insert(0, {envoy!r})
import envoy_service
envoy_service.stop_on_signals()
{body}
try:
    work()
    time.sleep(60)
except envoy_service.StoppedBySignal as stopped:
    print("stopped by", stopped.signum, flush=True)
"""
IDLE = 'def work(): print("ready", flush=True)'
IN_A_FINALIZER = """
class Finalized:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(1)
def work(): Finalized()
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("body", [IDLE, IN_A_FINALIZER], ids=["idle", "in a finalizer"])
def test_signals_reach_the_main_thread(body, signum):
    source = LOOP.format(envoy=str(ENVOY), body=body)
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as envoy:
        try:
            assert envoy.stdout.readline() == "ready\n"
            envoy.send_signal(signum)
            output, _ = envoy.communicate(timeout=10)
        finally:
            envoy.kill()
    assert output == f"stopped by {int(signum)}\n"
