"""What is spoken in pretraining: words, invented words and phrases, none of which is to be spotted later.

The invented words follow English spelling (an onset, a rime, now and then an ending), so that every sound is
heard next to every other; there is no list to download and no licence to mind.
"""

import re
from collections.abc import Callable
from pathlib import Path

from pretraining.flite import pronounce
from pretraining.phonetics import PhoneticEngine
from speech_commands.seeding import seeded_rng
from speech_commands.synthetic.script import OTHER_WORDS
from speech_commands.synthetic.voices import ACCENTS
from superb_node.labels import KEYWORDS

WORDS = Path(__file__).with_name("words.txt")

# The words of Speech Commands v0.02 that v0.01 does not have.
LATER_WORDS = ("backward", "forward", "follow", "learn", "visual")

RESERVED = (*KEYWORDS, *OTHER_WORDS, *LATER_WORDS)
"""The 35 words of Speech Commands: none of them, and nothing that sounds like one, is spoken."""

ONSETS = (
    "b bl br ch d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sh shr sk sl sm sn sp spl spr st str "
    "sw t th thr tr tw v w y z"
).split()

RIMES = (
    "ab ack ad ag am an ang ank ant and amp ap ash ask ast at atch ath av az "
    "eb eck ed eft eg ell elt em en ench end ent ep ess est et eth "
    "ib ick id iff ift ig ill ilk im in inch ing ink int ip isk iss ist it itch ith ix iz "
    "ob ock od og oll omp ond ong op oss ot otch ox "
    "ub uck ud uff ug ull um un unch und ung unk unt up us ush usk ust ut uzz "
    "ace ade aid ail aim ain aint ake ale ame ane ape aste ate ave ay aze "
    "each ead eaf eak eal eam een eap eet eeve eeze ee "
    "ibe ice ide ife igh ight ike ile ime ind ine ipe ire ise ite ive "
    "oach oad oak oal oan oast oat obe ode oke ole ome ope ose ove ow "
    "oob ood oof ool oom oon oop oose oot ooth oove oo ute une ule "
    "ouch oud ound ount ouse out outh owl oy oid oil oin oint oist "
    "arb ard arf ark arl arm arn arp art arve ar erb erd erk erm ern erp erse ert er "
    "orb ord ork orm orn orp ort orth ore air eer ear ure aw awl awn aught"
).split()

ENDINGS = "er y ing le en ish et el ow um ic ent ly ment ness ful dom age".split()

PRONOUNCING = "m1"  # the voice that is asked how a text sounds: variants of an accent pronounce alike

Phonemes = Callable[[str], str]


def real_words() -> list[str]:
    """Return the words of words.txt, in its order."""
    return WORDS.read_text(encoding="utf-8").split()


def invent(count: int, seed: int) -> list[str]:
    """Invent words: of one syllable, of two, or of one with an ending; the same ones from the same seed."""
    rng = seeded_rng("invented words", seed)
    words: dict[str, None] = {}
    while len(words) < count:
        first, second = (str(rng.choice(ONSETS)) + str(rng.choice(RIMES)) for _ in range(2))
        kind = rng.random()
        word = first if kind < 0.6 else first + str(rng.choice(ENDINGS)) if kind < 0.8 else first + second
        words[word] = None
    return list(words)


class Censor:
    """Refuses texts that contain a reserved word, as it is written or as it sounds."""

    def __init__(self, phonemes: Phonemes) -> None:
        """Prepare.

        Args:
            phonemes: turns a text into eSpeak NG's phoneme mnemonics, words parted by spaces.

        """
        self._phonemes = phonemes
        self._reserved = frozenset(RESERVED)
        self._sounds = frozenset(sound_of(phonemes(word)) for word in RESERVED)
        # Short ones, such as "no" or "up", are part of half the language: refused as whole words only.
        self._long = tuple(word for word in RESERVED if len(word) >= 4)
        self._long_sounds = tuple(sound for sound in self._sounds if len(sound) >= 4)

    def allows(self, text: str) -> bool:
        """Tell whether nothing reserved is written or heard in a text."""
        words, sounds = text.split(), [sound_of(word) for word in self._phonemes(text).split()]
        if self._reserved.intersection(words) or self._sounds.intersection(sounds):
            return False
        whole = "".join(sounds)
        return not any(word in text.replace(" ", "") for word in self._long) and not any(
            sound in whole for sound in self._long_sounds
        )


def sound_of(phonemes: str) -> str:
    """Return phoneme mnemonics without stress, length, word borders and marks of aspiration."""
    return re.sub(r"[',%_|:;2 ]", "", phonemes)


def choose_texts(
    engine: PhoneticEngine, invented: int, phrases: int, seed: int
) -> tuple[list[str], list[str]]:
    """Choose what is spoken: nothing that sounds reserved in any of the accents.

    Args:
        engine: pronounces; its voice is another afterwards.
        invented: how many invented words to try; those that sound alike or are reserved fall out.
        phrases: how many phrases of two words to try.
        seed: of both.

    Returns:
        the words, no two of which sound the same in American English, and the phrases.

    """
    words = allowed(engine, [*real_words(), *invent(invented, seed)])
    engine.use_voice("en-us", PRONOUNCING)
    by_sound: dict[str, str] = {}
    for word in words:
        by_sound.setdefault(sound_of(engine.phonemes(word)), word)
    words = list(by_sound.values())
    rng = seeded_rng("phrases", seed)
    return words, allowed(engine, [" ".join(rng.choice(words, 2).tolist()) for _ in range(phrases)])


def allowed(engine: PhoneticEngine, texts: list[str]) -> list[str]:
    """Return the texts that a censor of every accent allows, and one of how Flite speaks."""
    for accent in ACCENTS:
        engine.use_voice(accent, PRONOUNCING)
        censor = Censor(engine.phonemes)
        texts = [text for text in texts if censor.allows(text)]
    sounds = pronounce(sorted({word for text in texts for word in text.split()} | set(RESERVED)))
    censor = Censor(lambda text: " ".join(sounds[word] for word in text.split()))
    return [text for text in texts if censor.allows(text)]
