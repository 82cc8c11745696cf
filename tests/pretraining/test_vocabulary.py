"""Nothing that a federation may be asked to spot is heard in pretraining."""

from __future__ import annotations

import pytest

from pretraining import flite
from pretraining.corpus import PRETRAINING_VARIANTS
from pretraining.phonetics import PhoneticEngine
from pretraining.training import Plan
from pretraining.vocabulary import RESERVED, Censor, choose_texts, invent, real_words
from speech_commands.synthetic.voices import ACCENTS, VARIANTS
from superb_node.labels import KEYWORDS


@pytest.fixture(scope="module")
def chosen(engine: PhoneticEngine, flite_is_here: None) -> tuple[list[str], list[str]]:
    """The texts of the published tiny model."""
    plan = Plan()
    return choose_texts(engine, plan.invented, plan.phrases, plan.seed)


def test_reserved_are_the_35_words_of_speech_commands() -> None:
    assert len(set(RESERVED)) == 35
    assert set(KEYWORDS) <= set(RESERVED)


def test_no_text_contains_a_keyword_as_written(chosen: tuple[list[str], list[str]]) -> None:
    words, phrases = chosen
    assert len(words) > 3000
    assert len(phrases) > 1000
    spoken = {word for text in [*words, *phrases] for word in text.split()}
    assert not spoken & set(RESERVED)
    for long in ("down", "left", "right", "stop"):
        assert not [text for text in [*words, *phrases] if long in text]


@pytest.mark.parametrize("accent", ["en-us", "en", "en-gb-scotland", "en-029"])
def test_no_text_contains_a_keyword_as_it_sounds(
    engine: PhoneticEngine, chosen: tuple[list[str], list[str]], accent: str
) -> None:
    engine.use_voice(accent, "f2")
    keywords = {engine.phonemes(word).replace("'", "").replace(",", "") for word in KEYWORDS}
    assert len(keywords) == len(KEYWORDS)
    for text in [text for texts in chosen for text in texts]:
        heard = [word.replace("'", "").replace(",", "") for word in engine.phonemes(text).split()]
        assert not keywords.intersection(heard), text


def test_no_text_contains_a_keyword_as_flite_says_it(chosen: tuple[list[str], list[str]]) -> None:
    said = flite.pronounce(sorted({word for texts in chosen for text in texts for word in text.split()}))
    keywords = set(flite.pronounce(list(KEYWORDS)).values())
    assert len(keywords) == len(KEYWORDS)
    assert not [word for word, sound in said.items() if sound in keywords]


@pytest.mark.parametrize(
    "text", ["stop", "know", "knot no", "write", "nonstop", "won", "leftover", "sit down", "ate"]
)
def test_the_censor_refuses(engine: PhoneticEngine, text: str) -> None:
    engine.use_voice("en-us", "m1")
    assert not Censor(engine.phonemes).allows(text)


@pytest.mark.parametrize("text", ["note", "cup", "coffee", "giraffe", "green table", "goat"])
def test_the_censor_allows_two_sounds_inside_a_word(engine: PhoneticEngine, text: str) -> None:
    engine.use_voice("en-us", "m1")
    assert Censor(engine.phonemes).allows(text)


def test_words_do_not_repeat(chosen: tuple[list[str], list[str]]) -> None:
    assert len(set(real_words())) == len(real_words())
    assert len(set(chosen[0])) == len(chosen[0])


def test_the_same_seed_invents_the_same_words() -> None:
    assert invent(50, 1) == invent(50, 1)
    assert invent(50, 1) != invent(50, 2)


def test_voices_of_the_synthetic_corpus_that_are_scored_are_held_out(engine: PhoneticEngine) -> None:
    assert not set(PRETRAINING_VARIANTS) & {*VARIANTS["val"], *VARIANTS["test"]}
    assert len(set(PRETRAINING_VARIANTS)) == len(PRETRAINING_VARIANTS)
    for variant in PRETRAINING_VARIANTS:
        engine.use_voice(ACCENTS[0], variant)
