"""A round trains on the device that the envoy was given, whatever the library would choose."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from superb_ks.training.arguments import RoundArguments


@pytest.fixture(autouse=True)
def accelerate_forgets():
    """What accelerate keeps for the whole process goes with each test."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_processor_is_a_processor():
    arguments = RoundArguments(own_device="cpu", seed=3, per_device_train_batch_size=16)
    assert (arguments.device, arguments.n_gpu) == (torch.device("cpu"), 0)
    assert Accelerator(cpu=True).device == torch.device("cpu")
    assert (arguments.seed, arguments.per_device_train_batch_size) == (3, 16)


@pytest.mark.parametrize(("given", "taken"), [("cuda:1", "cuda:1"), ("cuda:0", "cuda:0"), ("cuda", "cuda:0")])
def test_a_certain_gpu_is_where_all_goes(given: str, taken: str, monkeypatch):
    """Without a GPU: what PyTorch is asked for, and where accelerate would put model and batches."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    arguments = RoundArguments(own_device=given)
    assert arguments.device == torch.device(taken)
    assert current[-1] == torch.device(taken)
    assert arguments.n_gpu <= 1
    assert Accelerator().device == torch.device(taken)
