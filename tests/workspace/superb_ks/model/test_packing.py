"""A model's trained tensors go into one vector and come out of it unchanged."""

import numpy as np
import pytest
import torch
from torch import nn

from superb_ks.model.packing import Slot, empty_vector, lay_into, pack, trainable_layout, unpack


def small_model() -> nn.Module:
    """A frozen layer between two trained ones: 2·3 + 3 = 9 and 4·2 = 8 trained values."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4), nn.Linear(4, 2, bias=False))
    model[1].requires_grad_(False)
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(6.0).view(2, 3))
        model[0].bias.copy_(torch.tensor([6.0, 7.0]))
        model[2].weight.copy_(torch.arange(8.0, 16.0).view(2, 4))
    return model


def test_layout_is_in_order_without_gaps_and_leaves_frozen_tensors_out():
    assert trainable_layout(small_model()) == [
        Slot("0.weight", (2, 3), 0, 6),
        Slot("0.bias", (2,), 6, 8),
        Slot("2.weight", (2, 4), 8, 16),
    ]


def test_pack_by_hand():
    vector = pack(small_model())
    assert vector.dtype == np.float32
    assert vector.tolist() == list(range(16))


def test_pack_into_memory_that_is_there():
    memory = np.full(16, -1, np.float32)
    assert pack(small_model(), out=memory) is memory
    assert memory.tolist() == list(range(16))
    assert pack(small_model(), out=np.empty(15, np.float32)).tolist() == list(range(16))


def test_unpack_is_the_inverse_and_leaves_frozen_tensors_alone():
    model = small_model()
    frozen = model[1].weight.clone()
    message = np.arange(100, 116, dtype=np.float32)
    message.setflags(write=False)  # as decoded from a received message
    unpack(message, model)
    assert pack(model).tolist() == list(range(100, 116))
    assert torch.equal(model[1].weight, frozen)


def test_packed_memory_is_not_the_models():
    model = small_model()
    vector = pack(model)
    unpack(np.zeros(16, np.float32), model)
    assert vector.tolist() == list(range(16))


def test_a_model_that_lies_in_a_vector_is_packed_at_any_time():
    model = small_model()
    vector = empty_vector(16)
    assert vector.ctypes.data % 64 == 0
    vector[:] = range(16, 32)
    frozen = model[1].weight.clone()
    lay_into(vector, model)
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
    assert pack(model, out=vector) is vector

    unpack(np.zeros(16, np.float32), model)  # another vector is copied in
    assert not vector.any()


def test_parameters_that_cannot_lie_in_a_vector_are_copied():
    model = small_model()
    model[2].bfloat16()
    vector = np.arange(50, 66, dtype=np.float32)
    lay_into(vector, model)
    assert model[2].weight.tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]
    unpack(vector, model)
    assert model[2].weight.dtype == torch.bfloat16
    assert pack(model, out=vector).tolist() == list(range(50, 66))
    model[0].double()  # moved after it was laid into the vector
    vector += 1
    unpack(vector, model)
    assert model[0].weight.dtype == torch.float64
    assert model[0].weight.tolist() == [[51, 52, 53], [54, 55, 56]]


def test_bfloat16_parameters_keep_their_type():
    model = small_model().bfloat16()
    vector = pack(model)
    assert vector.dtype == np.float32
    unpack(vector + 1, model)
    assert model[0].weight.dtype == torch.bfloat16
    assert pack(model).tolist() == list(range(1, 17))


def test_parameters_that_are_not_contiguous():
    model = nn.Linear(3, 2, bias=False)
    model.weight = nn.Parameter(torch.arange(6.0).view(3, 2).t())
    assert pack(model).tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_parameters_on_a_gpu():
    model = small_model().cuda()
    unpack(pack(model) + 1, model)
    assert model[0].weight.is_cuda
    assert pack(model).tolist() == list(range(1, 17))


def test_a_wrong_length_is_refused_with_both_lengths():
    with pytest.raises(ValueError, match=r"\(15,\).*\(16,\)"):
        unpack(np.zeros(15, np.float32), small_model())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_before_anything_is_changed(bad):
    model = small_model()
    vector = np.zeros(16, np.float32)
    vector[7] = bad
    with pytest.raises(ValueError, match="'0.bias'"):
        unpack(vector, model)
    assert pack(model).tolist() == list(range(16))


def test_the_largest_finite_values_are_accepted():
    model = small_model()
    largest = np.full(16, np.finfo(np.float32).max, np.float32)
    unpack(largest, model)
    assert np.array_equal(pack(model), largest)


def test_a_model_without_trained_parameters_is_refused():
    with pytest.raises(ValueError, match="Linear has no parameter"):
        trainable_layout(nn.Linear(2, 2).requires_grad_(False))
