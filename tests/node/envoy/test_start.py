"""Starting and stopping an envoy: its config, its folder, its signals."""

import errno
import fcntl
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from demo.ports import free_ports
from superb_node import local_socket
from superb_node.envoy.__main__ import own_folder
from superb_node.envoy.config import EnvoyConfig, build_descriptor, require_devices
from superb_node.errors import ConfigError
from superb_node.work_folder import MARKER
from tests.support.cards import CARD
from tests.support.lab import sine_root

ENVOY = Path(__file__).resolve().parents[3] / "envoy"
SERVICE = [sys.executable, "-m", "superb_node.envoy"]


@pytest.fixture(autouse=True)
def work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
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
        ("params: {cuda: [0]}", "unknown setting params.cuda; legal: cuda_devices, cpu_threads"),
        ("shard_descriptor: {template: nowhere}", "template must be module.Class"),
        ("params: {cpu_threads: 0}\nshard_descriptor: {template: a.B}", "is 0; legal: null or 1 and more"),
        ("params: [1", "is not a YAML file of sections"),
        ("params: {cuda_devices: ['0']}", r"cuda_devices is \['0'\]; a list of numbers from 0 such as \[0\]"),
        ("params: {cuda_devices: [-1]}", r"cuda_devices is \[-1\]; a list of numbers from 0"),
        ("params: {cuda_devices: [true]}", r"cuda_devices is \[True\]; a list of numbers from 0"),
        ("params: {cuda_devices: [0.0]}", r"cuda_devices is \[0.0\]; a list of numbers from 0"),
        ("params: {cuda_devices: 0}", "cuda_devices is 0; a list of numbers from 0"),
        ("params: {cuda_devices: cuda}", "cuda_devices is 'cuda'; a list of numbers from 0"),
        (
            "params: {cuda_devices: [0, 1, 0]}",
            r"cuda_devices is \[0, 1, 0\]; a device may be listed only once",
        ),
    ],
)
def test_mistakes_are_named_with_what_is_legal(tmp_path, text, message):
    if "shard_descriptor" not in text:
        text += "\nshard_descriptor: {template: a.B}"
    with pytest.raises(ConfigError, match=message):
        EnvoyConfig.load(config(tmp_path, text))


def test_a_missing_config(tmp_path):
    with pytest.raises(ConfigError, match="no envoy config at .*nowhere.yaml"):
        EnvoyConfig.load(tmp_path / "nowhere.yaml")


def test_a_descriptor_that_cannot_be_made_is_named():
    with pytest.raises(ConfigError, match="shard_descriptor.template no_such_module.Shard: No module named"):
        build_descriptor(EnvoyConfig("no_such_module.Shard"))
    with pytest.raises(ValueError, match="colour.*legal values: rank_worldsize, source"):
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
        [*SERVICE, "--config", path],
        cwd=ENVOY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    import re

    assert re.search(message, result.stderr), result.stderr


def refused(option: str) -> str:
    """Start an envoy that must end with an error; return what it says."""
    result = subprocess.run(
        [*SERVICE, option],
        cwd=ENVOY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    return result.stderr


@pytest.mark.parametrize("port", ["abc", "99999", "80", "-1", "²"])
def test_illegal_ports(port):
    message = f"envoy: the director's port is {port!r}; legal: 1024 to 65535\n"
    assert refused(f"--director-port={port}") == message


@pytest.mark.parametrize("name", ["", "../x", "1a", "a b", "a" * 64])
def test_illegal_names(name):
    assert f"envoy: envoy name {name!r}; legal: a letter" in refused(f"--name={name}")


def test_the_work_folder_is_ours_alone_and_goes_at_the_end(work):
    before = Path.cwd()
    with own_folder(work.parent, "env_one") as folder:
        assert Path.cwd() == folder == work / "env_one"
        with (
            pytest.raises(ConfigError, match="an envoy named env_one already runs from"),
            own_folder(work.parent, "env_one"),
        ):
            pass
        with own_folder(work.parent, "env_two"):
            pass
    assert Path.cwd() == before
    assert {path.name for path in work.iterdir()} == {".env_one.lock", ".env_two.lock"}


def test_only_what_carries_our_marker_is_swept(work):
    remains = work / "env_one"
    remains.mkdir(parents=True)
    (remains / "env_one_exp").mkdir()
    (remains / MARKER).touch()
    with own_folder(work.parent, "env_one") as folder:
        assert [path.name for path in folder.iterdir()] == [MARKER]

    foreign = work / "env_two"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(ConfigError, match="env_two holds files that are not the envoy's"),
        own_folder(work.parent, "env_two"),
    ):
        pass
    assert (foreign / "thesis.txt").exists()


LOOP = """
import time
from superb_node.stop_signals import StoppedBySignal, stop_on_signals
stop_on_signals()
{body}
try:
    work()
    time.sleep(60)
except StoppedBySignal as stopped:
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
    source = LOOP.format(body=body)
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as envoy:
        try:
            assert envoy.stdout.readline() == "ready\n"
            envoy.send_signal(signum)
            output, _ = envoy.communicate(timeout=10)
        finally:
            envoy.kill()
    assert output == f"stopped by {int(signum)}\n"


def test_devices_that_are_not_there_are_said_with_what_is(tmp_path):
    """With the machine's own PyTorch, whatever it finds."""
    import torch

    there = list(range(torch.cuda.device_count()))
    require_devices(tuple(there))
    with pytest.raises(ConfigError, match=r"params.cuda_devices is \[99\]: ") as refused:
        require_devices((99,))
    legal = f"PyTorch finds {there} here, and those are legal" if there else "legal: []"
    assert legal in str(refused.value)


@pytest.mark.parametrize(
    ("count", "cuda", "visible", "wanted", "message"),
    [
        (0, None, None, (0,), r"is built without CUDA; legal: \[\]$"),
        (0, "12.8", None, (0,), r"PyTorch finds no CUDA device here; legal: \[\]$"),
        (2, "12.8", None, (0, 2), r"is \[0, 2\]: PyTorch finds \[0, 1\] here, and those are legal$"),
        (
            1,
            "12.8",
            "3",
            (3,),
            r"finds \[0\] here.* \(CUDA_VISIBLE_DEVICES is '3'; what it names is counted from 0",
        ),
        (2, "12.8", None, (1, 0), None),
        (1, "12.8", "3", (0,), None),
    ],
)
def test_devices_are_counted_as_pytorch_counts_them(monkeypatch, count, cuda, visible, wanted, message):
    """Stands in for machines that this one is not."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if message is None:
        require_devices(wanted)
    else:
        with pytest.raises(ConfigError, match=message):
            require_devices(wanted)


def test_who_wants_no_device_does_not_wait_for_pytorch():
    source = "import sys, superb_node.envoy.__main__ as envoy; envoy.require_devices(()); "
    source += "print('torch' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert asked.stdout == "False\n"


def test_the_envoy_is_refused_before_it_looks_for_its_data(tmp_path):
    path = config(
        tmp_path, "params: {cuda_devices: [99]}\nshard_descriptor: {template: no_such_module.Shard}"
    )
    result = subprocess.run(
        [*SERVICE, "--config", path],
        cwd=ENVOY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith("envoy: params.cuda_devices is [99]: PyTorch ")
    assert len(result.stderr.splitlines()) == 1


DESCRIPTOR = """
class Shard:
    def __init__(self, description):
        self.dataset_description = description
"""


@pytest.mark.parametrize(
    ("description", "said"), [([], "it is list, no text"), ("in words", "'in words' is not JSON")]
)
def test_a_description_that_is_no_card_is_named_to_its_owner(tmp_path, monkeypatch, description, said):
    (tmp_path / "own_descriptor.py").write_text(DESCRIPTOR, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    build_descriptor(EnvoyConfig("own_descriptor.Shard", {"description": CARD}))
    with pytest.raises(ConfigError) as refused:
        build_descriptor(EnvoyConfig("own_descriptor.Shard", {"description": description}))
    assert f"own_descriptor.Shard: its dataset_description is no shard card: {said}" in str(refused.value)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_told_from_a_second_envoy(monkeypatch, work, number):
    """Stands in for NFS and Lustre, which a test cannot mount."""

    def flock(*_: object) -> None:
        raise OSError(number, "why")

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(
            ConfigError, match=r"work is on a file system that cannot lock a file \(why\).* local disk"
        ),
        own_folder(work.parent, "env_one"),
    ):
        pass


class Hostile(grpc.GenericRpcHandler):
    """A director that refuses every call with words that a terminal would obey."""

    def service(self, _: object) -> grpc.RpcMethodHandler:
        def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no\x1b]0;owned\x07\nenvoy: all is well")
            return b""

        return grpc.unary_unary_rpc_method_handler(refuse)


def test_what_a_director_says_is_not_obeyed_by_the_owners_terminal(tmp_path: Path) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Hostile(),))
    home = sine_root(tmp_path / "root") / "envoy"
    (port,) = free_ports(1)
    with local_socket.only_listener(port) as path:
        server.add_insecure_port(f"{local_socket.HOST}:{path}")
        server.start()
        done = subprocess.run(
            [*SERVICE, "--director-port", str(port)],
            cwd=home, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        server.stop(0).wait()
    assert done.returncode == 2
    words = "envoy: the director refused: no\\x1b]0;owned\\x07\n  envoy: all is well\n"
    assert done.stderr.endswith(words) and "\x1b" not in done.stderr
