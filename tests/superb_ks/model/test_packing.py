"""A model's trained tensors go into one vector and come out of it unchanged."""

import numpy as np
import pytest
import torch
from torch import nn

from superb_ks.model.packing import Slot, pack, trainable_layout, unpack
from tests.support.small_model import small_model


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
