"""The speakers of the synthetic corpus: an accent, a voice variant of eSpeak NG and a pitch for each."""

from dataclasses import dataclass

from speech_commands.seeding import seeded_int, seeded_order

# Names that eSpeak NG accepts together with a variant ("en-gb+f3" it refuses; "en" is British).
ACCENTS = (
    "en", "en-us", "en-us-nyc", "en-029", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd",
)  # fmt: skip

# No variant is in two splits, whatever the seed, and related ones (klatt, klatt2) are in the same split.
# Whispers, robots and caricatures are left out.
VARIANTS = {
    "train": (
        "f1", "m1", "f2", "m2", "f3", "m3", "grandma", "grandpa", "steph", "Alex", "steph2", "Andy", "steph3",
        "antonio", "caleb", "Denis", "Diogo", "ed", "edward", "edward2", "Gene", "Gene2", "gustave",
        "Henrique", "ian", "iven", "iven2", "iven3", "iven4", "klatt", "klatt2", "klatt3", "m5", "m6", "m8",
        "marcelo", "Marco", "Mario", "max", "Michael", "michel", "miguel", "Mike", "Nguyen", "norbert",
        "pedro", "rob", "travis",
    ),
    "val": (
        "Andrea", "david", "f4", "m4", "linda", "benjamin", "belinda", "Jacky", "anika", "Lee", "pablo",
        "zac",
    ),
    "test": (
        "Annie", "adam", "aunty", "boris", "f5", "Hugo", "shelby", "john", "Alicia", "m7", "paul", "quincy",
        "Reed", "victor",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Speaker:
    """One speaker of the corpus.

    Attributes:
        name: eight hex digits, as in the file names.
        split: "train", "val" or "test".
        accent: a language name of eSpeak NG.
        variant: a voice variant of eSpeak NG.
        pitch: 0 to 100; 50 is the variant's own.
    """

    name: str
    split: str
    accent: str
    variant: str
    pitch: int


def choose_speakers(split: str, count: int, seed: int) -> list[Speaker]:
    """Return the first `count` speakers of a split; the seed decides their accents and pitches.

    When all variants of the split are taken, they are taken again, each in another accent, pitch and room.
    """
    accents = seeded_order(ACCENTS, "accents", seed, split)
    speakers = []
    for i in range(count):
        turn, number = divmod(i, len(VARIANTS[split]))
        variant = VARIANTS[split][number]
        who = f"{variant} {turn}" if turn else variant
        speakers.append(
            Speaker(
                name=f"{seeded_int('speaker', seed, who) >> 32:08x}",
                split=split,
                accent=ACCENTS[accents[(i + turn) % len(ACCENTS)]],
                variant=variant,
                pitch=35 + seeded_int("pitch", seed, who) % 31,
            )
        )
    return speakers
