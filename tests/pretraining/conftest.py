"""A small corpus, spoken once for all tests."""

from __future__ import annotations

import pytest

from pretraining.corpus import SpokenCorpus, speak_corpus
from pretraining.phonetics import PhoneticEngine


@pytest.fixture(scope="session")
def engine() -> PhoneticEngine:
    """The synthesiser of this process, after its first utterance, which may lack an event."""
    engine = PhoneticEngine()
    engine.use_voice("en-us", "m1")
    engine.utter("hello", rate=120, pitch=50, pitch_range=50)
    return engine


@pytest.fixture(scope="session")
def corpus() -> SpokenCorpus:
    """A hundred clips in two voices."""
    return speak_corpus(clips=100, invented=20, phrases=20, seed=0)
