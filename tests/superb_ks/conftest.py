"""Gives tests small models and clips."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this folder may reach for the model hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No test of this folder may write into the user's cache."""
    folder: Path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SUPERB_CACHE", str(folder))
    return folder


@pytest.fixture
def openfl_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back, after a test, what an aggregator puts in the place of OpenFL's own."""
    from openfl.protocols import aggregator_pb2_grpc
    from openfl.transport.grpc import aggregator_server

    for module, name in (
        (aggregator_pb2_grpc, "add_AggregatorServicer_to_server"),
        (aggregator_server, "cpu_count"),
        (aggregator_server, "channel_options"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.fixture
def global_seeds_untouched() -> Iterator[None]:
    """Fail a test after which the global generators stand elsewhere than before."""
    import torch

    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "PyTorch's global generator moved"
    assert np.array_equal(numpy_before, np.random.get_state()[1]), "numpy's global generator moved"


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder such as a download of wav2vec2-base leaves, with the configuration shrunk."""
    return save_shrunk(tmp_path_factory.mktemp("models") / "base", layer_norm=False)


@pytest.fixture(scope="session")
def large_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in the manner of wav2vec2-large-lv60: layer norm in the encoder, so attention masks."""
    return save_shrunk(tmp_path_factory.mktemp("models") / "large", layer_norm=True)


@pytest.fixture(scope="session")
def hubert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for hubert-base."""
    return save_shrunk(tmp_path_factory.mktemp("models") / "hubert", layer_norm=False, family="Hubert")


@pytest.fixture(scope="session")
def wavlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for wavlm-base."""
    return save_shrunk(tmp_path_factory.mktemp("models") / "wavlm", layer_norm=False, family="WavLM")


def save_shrunk(folder: Path, layer_norm: bool, family: str = "Wav2Vec2") -> Path:
    """Save an upstream with seven convolutions, as published models have, but narrow."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    config = getattr(transformers, f"{family}Config")(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=24,
        codevector_dim=16,
        proj_codevector_dim=16,
        feat_extract_norm="layer" if layer_norm else "group",
        do_stable_layer_norm=layer_norm,
    )
    kind = f"{family}ForPreTraining" if family == "Wav2Vec2" else f"{family}Model"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        getattr(transformers, kind)(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=layer_norm).save_pretrained(folder)
    return folder


class ToneClips:
    """Clips that a test knows everything about: one tone for each label, in noise, of given lengths."""

    def __init__(self, lengths: list[int], n_labels: int = 12, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.items = []
        for index, length in enumerate(lengths):
            label = index % n_labels
            tone = np.sin(2 * np.pi * (200 + 250 * label) * np.arange(length) / 16_000)
            noise = 0.05 * draw.standard_normal(length)
            self.items.append(((0.3 * tone + noise).astype(np.float32), label))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.items[index]


@pytest.fixture
def tone_clips() -> type[ToneClips]:
    """Return the class `ToneClips`."""
    return ToneClips
