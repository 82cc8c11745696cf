"""A model that lies in a vector is packed at any time, and its changes are noticed."""

import numpy as np
import pytest
import torch

from superb_ks.collaborator.shared_memory_model import SharedMemoryModel
from superb_ks.model.packing import unpack
from tests.support.small_model import small_model


def test_a_model_that_lies_in_a_vector_is_packed_at_any_time():
    model = small_model()
    frozen = model[1].weight.clone()
    shared = SharedMemoryModel(model)
    vector = shared.vector
    assert vector.ctypes.data % 64 == 0
    vector[:] = range(16, 32)
    assert model[2].weight.tolist() == [[24, 25, 26, 27], [28, 29, 30, 31]]
    assert torch.equal(model[1].weight, frozen)

    vector[:] = range(100, 116)
    unpack(vector, model)
    assert model[0].bias.tolist() == [106, 107]
    model(torch.ones(5, 3)).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    gradient = model[0].bias.grad.tolist()
    optimizer.step()
    assert vector[6:8].tolist() == pytest.approx([106 - gradient[0], 107 - gradient[1]])
    assert shared.pack(model) is vector

    unpack(np.zeros(16, np.float32), model)  # another vector is copied in
    assert not vector.any()


def test_parameters_that_cannot_lie_in_a_vector_are_copied():
    model = small_model()
    model[2].bfloat16()
    shared = SharedMemoryModel(model)
    vector = shared.vector
    vector[:] = range(50, 66)
    assert model[2].weight.tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]
    unpack(vector, model)
    assert model[2].weight.dtype == torch.bfloat16
    assert shared.pack(model).tolist() == list(range(50, 66))
    model[0].double()  # moved after it was laid into the vector
    vector += 1
    unpack(vector, model)
    assert model[0].weight.dtype == torch.float64
    assert model[0].weight.tolist() == [[51, 52, 53], [54, 55, 56]]


def test_a_change_of_any_kind_changes_the_checksum():
    model = small_model()
    shared = SharedMemoryModel(model)
    shared.vector[:] = range(16)
    before = shared.checksum()
    with torch.no_grad():
        model[1].weight += 1  # frozen
    assert shared.checksum() == before
    model[0].weight.data[0, 0] += 1e-6  # PyTorch does not count changes through `data`
    assert shared.checksum() != before
    shared.vector[:] = range(16)
    assert shared.checksum() == before
