"""What OpenFL needs to carry a model around: a small pickle, and one tensor instead of hundreds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from openfl.federated.task.task_runner import CoreTaskRunner
from openfl.interface.interactive_api.experiment import ModelInterface
from openfl.plugins.frameworks_adapters.framework_adapter_interface import FrameworkAdapterPluginInterface
from torch import nn

from superb_ks.model.packing import pack, unpack
from superb_ks.model.spec import ModelSpec
from superb_ks.transport.messages import TRAINED


class PackedAdapter(FrameworkAdapterPluginInterface):
    """Hands OpenFL a model's trainable tensors as one float32 vector, and never an optimizer's state.

    Attributes:
        pack: how a model becomes a vector of shape [n_trainable]; a collaborator sets it to pack into memory
            that it has.
    """

    def __init__(self) -> None:
        """Pack into new memory."""
        self.pack: Callable[[nn.Module], np.ndarray] = pack

    def get_tensor_dict(self, model: nn.Module, optimizer: Any = None) -> dict[str, np.ndarray]:
        """Return `{"trained": vector of shape [n_trainable]}`."""
        return {TRAINED: self.pack(model)}

    def set_tensor_dict(
        self, model: nn.Module, tensor_dict: dict[str, np.ndarray], optimizer: Any = None, device: str = "cpu"
    ) -> None:
        """Put a received vector into the model and move the model to the device.

        Raises:
            ValueError: the vector does not fit this model, or is not finite.
        """
        model.to(device)
        unpack(tensor_dict[TRAINED], model)


def correct_task_runner(adapter: type) -> None:
    """Let a task runner whose framework adapter is an `adapter` ask for no tensors before there is a task.

    Corrects: as soon as it has an adapter the task runner fetches all weights, only to note their names,
    which a packed model does not need. For wav2vec2-base that is a second before the first task, and again
    when the experiment is submitted.
    """
    correct = CoreTaskRunner.initialize_tensorkeys_for_functions
    # Long-lived processes import this again with each experiment; the corrections must not pile up.
    original = getattr(correct, "__wrapped__", correct)

    @functools.wraps(original)
    def initialize_tensorkeys_for_functions(self: CoreTaskRunner, with_opt_vars: bool = False) -> None:
        if not isinstance(self.framework_adapter, adapter):
            original(self, with_opt_vars)

    CoreTaskRunner.initialize_tensorkeys_for_functions = initialize_tensorkeys_for_functions


correct_task_runner(PackedAdapter)


class SpecifiedModel(ModelInterface):
    """A model that travels as its specification and is built where it is first needed."""

    def __init__(self, spec: ModelSpec) -> None:
        """Keep the specification; nothing is built yet."""
        plugin = f"{PackedAdapter.__module__}.{PackedAdapter.__qualname__}"
        super().__init__(model=None, optimizer=None, framework_plugin=plugin)
        self.spec = spec
        self.model: nn.Module | None = None

    def provide_model(self) -> nn.Module:
        """Return this process's model, built at the first call.

        Raises:
            ModelMismatch: this node rebuilds other weights than the specification was sealed with.
            ModelUnavailable: this node can neither find nor download the model.
        """
        if self.model is None:
            self.model = self.spec.build()
        return self.model

    def provide_optimizer(self) -> None:
        """Return nothing: the training task makes a fresh optimizer each round, and none is shipped."""
        return None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model, if one was built, out of the pickle."""
        return {**self.__dict__, "model": None}
