"""Hidden states of a frozen upstream, computed once per clip: their means over time, kept on disk.

SUPERB's head is linear up to its mean over time, and so is the weighted sum of the layers. The mean of a
clip's hidden states is therefore all that a head ever needs: layers + 1 vectors, not fifty times as many.
They are kept in float32, so that scores through the cache and through the whole model agree to the clip.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from superb_ks.model.fingerprint import digest
from superb_ks.model.spec import SAMPLING_RATE
from superb_ks.training.data import ClipDataset
from superb_ks.training.means_store import MeansStore

logger = logging.getLogger(__name__)

BATCH_SIZE = 32
"""Clips in one pass through the upstream."""
CHUNK_BYTES = 64 * 2**20
"""New means are written when there are so many: what a killed envoy has computed is not lost."""
IN_MEMORY_BYTES = 256 * 2**20
"""Up to so many bytes, the means of a data set are copied into memory; larger ones are read from disk."""

_NOT_UPSTREAM = "id2label label2id use_weighted_layer_sum classifier_proj_size architectures dtype".split()

_opened: WeakKeyDictionary[ClipDataset, dict[str, TimeMeans]] = WeakKeyDictionary()
_upstreams: WeakKeyDictionary[nn.Module, tuple[Any, str]] = WeakKeyDictionary()


class TimeMeans:
    """The means of a data set's clips, and their labels."""

    def __init__(self, rows: Sequence[torch.Tensor], labels: Sequence[int]) -> None:
        """Take what is known of each clip.

        Args:
            rows: float32 [layers + 1, hidden_size] for each clip; may lie in a memory-mapped file.
            labels: label id of each clip.
        """
        self.labels = torch.tensor(labels)
        small = len(rows) * rows[0].nbytes <= IN_MEMORY_BYTES
        self._rows: Sequence[torch.Tensor] | torch.Tensor = torch.stack(list(rows)) if small else rows

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the means of some clips, [n_indices, layers + 1, hidden_size]."""
        if isinstance(self._rows, torch.Tensor):
            return self._rows[indices]
        return torch.stack([self._rows[index] for index in indices.tolist()])


def means_of(model: PreTrainedModel, dataset: ClipDataset, device: str) -> TimeMeans:
    """Return the means of a data set's clips, from the cache where it has them.

    A clip is known by what is in it, an upstream by its weights, its configuration, what its feature
    extractor does and the kind of device, so that nothing of another clip or upstream is ever taken for one's
    own. Clips of equal length share a pass, so that none is padded and each gets the states that it gets
    alone.

    Args:
        model: for audio classification, its upstream frozen; moved to the device.
        dataset: the clips, taken whole and as they are, without augmentation.
        device: "cpu" or a CUDA device.

    Raises:
        FloatingPointError: a clip leads to values that are infinite or undefined.
    """
    upstream = upstream_key(model, dataset.extractor, device)
    known = _opened.setdefault(dataset, {})
    if upstream not in known:
        known[upstream] = _look_up(model, dataset, device, MeansStore(upstream))
    return known[upstream]


def upstream_key(model: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor, device: str) -> str:
    """Return what tells this upstream from every other, 64 hexadecimal digits; the head has no part in it.

    Processors and GPUs round differently, so the kind of device has a part: what one has computed is not
    taken for the other's.
    """
    base = model.base_model
    # As long as no tensor is replaced or written to, its checksum stays: half a second for a base-size model.
    state = [(tensor.data_ptr(), tensor._version) for tensor in (*base.parameters(), *base.buffers())]
    seen = _upstreams.get(base)
    if seen is None or seen[0] != state:
        seen = _upstreams[base] = (state, _content(base))
    config = {name: value for name, value in model.config.to_diff_dict().items() if name not in _NOT_UPSTREAM}
    versions = f"torch {torch.__version__} transformers {transformers.__version__}"
    kind = torch.device(device).type
    words = [seen[1], repr(sorted(config.items())), extractor.to_json_string(), versions, kind]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _content(base: nn.Module) -> str:
    """Return a checksum of all weights, whether they are to be trained or not."""
    trained = [parameter for parameter in base.parameters() if parameter.requires_grad]
    if trained:
        raise ValueError(f"the upstream is trained ({len(trained)} tensors): its hidden states change")
    return digest(base)


def time_means(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Run the upstream on a batch and average each layer's hidden states over time.

    Args:
        model: for audio classification, in evaluation mode.
        batch: `input_values` [batch, n_samples] and, for models that use one, `attention_mask`: the mean is
            then over the frames that are not padding, as the models themselves take it.

    Returns:
        float32 [batch, layers + 1, hidden_size].
    """
    mask = batch.get("attention_mask")
    outputs = model.base_model(batch["input_values"], attention_mask=mask, output_hidden_states=True)
    states = torch.stack(outputs.hidden_states, dim=1)
    if mask is None:
        return states.mean(dim=2)
    valid = model._get_feature_vector_attention_mask(states.shape[2], mask).to(states.dtype)
    return torch.einsum("blth,bt->blh", states, valid / valid.sum(dim=1, keepdim=True))


def _look_up(model: PreTrainedModel, dataset: ClipDataset, device: str, store: MeansStore) -> TimeMeans:
    """Read every clip once; run the upstream on those that are new."""
    known = store.load()
    new = _NewClips(model, dataset, device, store)
    clips, labels = [], []
    was_training = model.training
    nn.Module.to(model, device)
    model.eval()
    with torch.inference_mode():
        for index in range(len(dataset)):
            waveform, label = dataset.clip(index)
            waveform = np.ascontiguousarray(waveform)
            clips.append(hashlib.blake2b(waveform.data, digest_size=32).digest())
            labels.append(label)
            if clips[-1] not in known:
                new.add(clips[-1], waveform)
        known |= new.all()
    model.train(was_training)
    return TimeMeans([known[clip] for clip in clips], labels)


class _NewClips:
    """Clips that the cache does not have, computed as soon as enough of a length are there."""

    def __init__(self, model: PreTrainedModel, dataset: ClipDataset, device: str, store: MeansStore) -> None:
        self._model, self._dataset, self._device, self._store = model, dataset, device, store
        self._seen: set[bytes] = set()
        self._waiting: dict[int, dict[bytes, np.ndarray]] = {}
        self._computed: dict[bytes, torch.Tensor] = {}
        self._written: dict[bytes, torch.Tensor] = {}

    def add(self, clip: bytes, waveform: np.ndarray) -> None:
        """Take a clip, unless it was there before; compute if there are enough of its length."""
        if clip in self._seen:
            return
        self._seen.add(clip)
        group = self._waiting.setdefault(len(waveform), {})
        group[clip] = waveform
        if len(group) == BATCH_SIZE:
            self._compute(self._waiting.pop(len(waveform)))

    def all(self) -> dict[bytes, torch.Tensor]:
        """Compute and write what is left; returns the means of all clips taken."""
        while self._waiting:
            self._compute(self._waiting.popitem()[1])
        self._write()
        return self._written

    def _compute(self, group: dict[bytes, np.ndarray]) -> None:
        extract = self._dataset.extractor
        inputs = [extract(wave, sampling_rate=SAMPLING_RATE)["input_values"][0] for wave in group.values()]
        batch = self._dataset.collate([{"input_values": values, "labels": 0} for values in inputs])
        on_device = {name: values.to(self._device) for name, values in batch.items()}
        means = time_means(self._model, on_device).float().cpu()
        if not torch.isfinite(means).all():
            raise FloatingPointError("a clip leads to hidden states that are infinite or undefined")
        self._computed.update(zip(group, means, strict=True))
        if len(self._computed) * means[0].nbytes >= CHUNK_BYTES:
            self._write()

    def _write(self) -> None:
        if self._computed:
            self._written.update(self._store.add(self._computed))
            self._computed = {}
