"""A small corpus, spoken once for all tests."""

from __future__ import annotations

import shutil

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
def flite_is_here() -> None:
    """Only the pretraining needs the command, so not every machine has it."""
    if shutil.which("flite") is None:
        pytest.skip("the command flite is not installed")


@pytest.fixture(scope="session")
def corpus(flite_is_here: None) -> SpokenCorpus:
    """Two hundred clips in four voices, two of each synthesiser."""
    return speak_corpus(clips=200, invented=20, phrases=20, seed=0)
