"""What is spoken, and that its labels lie where its sounds are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from pretraining.augmentation import Augmenter, frame_centres, level
from pretraining.corpus import (
    BLOCK,
    PRETRAINING_VARIANTS,
    RARE,
    SpokenCorpus,
    pairs_of,
    speak_corpus,
    write_script,
)
from pretraining.flite import VOICES
from pretraining.phonetics import PAUSE, PhoneticEngine, Utterance
from pretraining.speaking import FLITE, LABEL_STEP, PARTS, label
from superb_ks.model.architecture import ARCHITECTURE

KERNELS, STRIDES = ARCHITECTURE["conv_kernel"], ARCHITECTURE["conv_stride"]


def test_phonemes_come_with_the_sample_where_they_begin(engine: PhoneticEngine) -> None:
    engine.use_voice("en-us", "m3")
    said = engine.utter("sheep", rate=120, pitch=50, pitch_range=50)
    assert [name for name in said.names if name != PAUSE] == ["S", "i", "p"]
    assert (np.diff(said.starts) > 0).all()
    hiss, vowel = (said.samples[said.starts[i] : said.starts[i + 1]].astype(float) for i in (0, 1))

    def crossings(sound: np.ndarray) -> float:
        return float(np.mean(np.diff(np.sign(sound)) != 0))

    assert crossings(hiss) > 2 * crossings(vowel)


def test_labels_follow_the_resampled_sound() -> None:
    sound = np.concatenate([np.zeros(2205), np.full(2205, 8000), np.zeros(2205)]).astype(np.int16)
    said = Utterance(sound, 22_050, [PAUSE, "a", PAUSE], np.array([0, 2205, 4410]))
    names = {PAUSE: 0}
    samples, ids = label(said, names)
    assert names == {PAUSE: 0, "a": 1}
    assert len(samples) == len(ids) * LABEL_STEP == 1600  # a tenth of a second at 16 kHz
    assert (ids == 1).all()
    assert np.abs(samples[200:-200] - 8000).max() < 800


def test_an_utterance_of_nothing_has_no_labels() -> None:
    samples, ids = label(Utterance(np.zeros(4410, np.int16), 22_050, [PAUSE], np.array([0])), {PAUSE: 0})
    assert len(samples) == len(ids) == 0


def test_every_sample_has_a_label(corpus: SpokenCorpus) -> None:
    assert len(corpus) == 200
    assert len(corpus.samples) == len(corpus.labels) * LABEL_STEP
    assert corpus.starts[0] == 0
    assert corpus.starts[-1] == len(corpus.labels)
    assert (np.diff(corpus.starts) > 10).all()
    assert corpus.labels.max() < len(corpus.names)
    first = corpus.labels[corpus.starts[:-1]]
    assert (first > 0).all(), "a clip begins with its first sound"


def test_each_synthesiser_speaks_half_and_its_voices_take_turns() -> None:
    texts, blocks = [f"text {number}" for number in range(150)], 4 * PARTS * len(VOICES)
    script = write_script(texts, blocks * BLOCK, seed=0)
    assert len(script) == blocks
    said = [text for _, _, block in script for text in block]
    assert {said.count(text) for text in texts} <= {len(said) // 150, len(said) // 150 + 1}
    for part in range(PARTS):
        own = script[part::PARTS]
        assert sum(accent == FLITE for accent, _, _ in own) == len(own) / 2
    voices = [voice for accent, voice, _ in script if accent == FLITE]
    assert [voices.count(voice) for voice in VOICES] == [2 * PARTS] * len(VOICES)
    variants = [variant for accent, variant, _ in script if accent != FLITE]
    assert len(set(variants)) == min(len(variants), len(PRETRAINING_VARIANTS))


def test_the_same_seed_speaks_the_same(corpus: SpokenCorpus) -> None:
    again = speak_corpus(clips=200, invented=20, phrases=20, seed=0)
    for name in ("samples", "labels", "starts", "pairs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(corpus, name))
    assert again.names == corpus.names


def test_a_corpus_survives_the_disk(corpus: SpokenCorpus, tmp_path: Path) -> None:
    corpus.save(tmp_path)
    loaded = SpokenCorpus.load(tmp_path)
    np.testing.assert_array_equal(loaded.labels, corpus.labels)
    assert (loaded.names, loaded.n_pairs) == (corpus.names, corpus.n_pairs)


def test_pairs_are_counted_once_a_clip_and_rare_ones_not_at_all() -> None:
    clip = [1, 1, 2, 1, 2]  # with the pauses: 0-1, 1-2, 2-1, 2-0
    clips = 2 * RARE
    labels = np.array(clip * clips + [3], dtype=np.uint8)
    starts = np.array([*range(0, clips * len(clip) + 1, len(clip)), clips * len(clip) + 1])
    pairs, different = pairs_of(labels, starts, phonemes=4)
    assert different == 4
    assert sorted(pairs[0]) == [0, 1, 2, 3]
    assert (pairs[-1] == -1).all()


def test_frame_centres_are_those_of_the_model() -> None:
    """A click at a frame's centre moves that frame most."""
    config = Wav2Vec2Config(**{**ARCHITECTURE, "num_hidden_layers": 1})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder = Wav2Vec2Model(config).eval().feature_extractor
    centres = frame_centres(KERNELS, STRIDES)
    quiet = 0.01 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        base = encoder(quiet)
        assert base.shape[-1] == len(centres) == 48
        click = quiet.clone()
        click[0, centres[20]] += 0.05
        moved = (encoder(click) - base).norm(dim=1)[0]
    assert abs(moved.argmax().item() - 20) <= 1


def test_frames_are_labelled_where_the_speech_is(corpus: SpokenCorpus) -> None:
    augmenter = Augmenter(corpus, frame_centres(KERNELS, STRIDES), seed=0)
    speech, phonemes = augmenter.place(torch.arange(200))
    assert speech.shape == (200, 16_000)
    assert phonemes.shape == (200, 48)
    centres = frame_centres(KERNELS, STRIDES)
    around = torch.stack(
        [level(speech[:, centre - 40 : centre + 40])[:, 0] for centre in centres.tolist()], 1
    )
    assert around[phonemes == 0].median() == 0
    assert around[phonemes > 0].median() > 0.01
    silent = (speech == 0).all(1)
    assert not silent.any()


def test_a_batch_is_what_the_model_takes(corpus: SpokenCorpus) -> None:
    augmenter = Augmenter(corpus, frame_centres(KERNELS, STRIDES), seed=0)
    waveforms, phonemes, pairs = augmenter.batch(torch.arange(200))
    assert waveforms.dtype == torch.float32
    assert torch.isfinite(waveforms).all()
    assert waveforms.mean(1).abs().max() < 1e-3
    assert (waveforms.std(1) - 1).abs().max() < 1e-2
    assert phonemes.shape == (200, 48)
    assert pairs.shape == (200, corpus.pairs.shape[1])
    speechless = (phonemes == 0).all(1)
    assert 0 < speechless.sum() < 40
    assert (pairs[speechless] == -1).all()


def test_the_same_seed_records_the_same(corpus: SpokenCorpus) -> None:
    centres = frame_centres(KERNELS, STRIDES)
    first, again, other = (
        Augmenter(corpus, centres, seed).batch(torch.arange(8), strength=0.5)[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_corpus_without_clips_is_refused() -> None:
    with pytest.raises(ValueError, match="clips is 0"):
        speak_corpus(clips=0, invented=1, phrases=1, seed=0)
