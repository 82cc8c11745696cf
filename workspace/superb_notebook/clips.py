"""The clips of a test archive's folder, for listening and for scoring without the federation."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from IPython.display import HTML, Audio
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from superb_ks.model.spec import SAMPLING_RATE
from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_node.audio import MAX_CLIP_SECONDS, read_header
from superb_node.errors import DataError
from superb_node.labels import (
    TESTING_LIST,
    composed,
    is_background,
    is_litter,
    label_of,
    list_key,
    read_lines,
)
from superb_notebook import local_data
from superb_notebook.classify import read_wav
from superb_notebook.history import Score


class ClipFolder:
    """Clips below a folder that has one folder for each word; decoded when they are asked for.

    They are those that an envoy reads there with `on_bad_clip: skip`.

    Attributes:
        paths: the files, sorted by folder and name.
        labels: their class numbers, int64 [n_clips].
    """

    def __init__(
        self, root: Path | None, classes: Sequence[str], listed: bool = False, what: str = "those of a folder"
    ) -> None:
        """Find the clips.

        Args:
            root: the test archive's folder; None for no clips at all.
            classes: class names in the order of their numbers.
            listed: take only what the folder's testing list names.
            what: which clips these are, in words.

        Raises:
            ValueError: there is no such list, or it is no text.
        """
        self.classes = tuple(classes)
        self._what = what
        self.paths: list[Path] = []
        labels: list[int] = []
        wanted = _listed_in(root) if listed and root is not None else None
        for folder in sorted(root.iterdir()) if root is not None else ():
            label = label_of(folder.name, self.classes)
            if label is None or is_litter(folder.name) or is_background(folder.name) or not folder.is_dir():
                continue
            for path in sorted(folder.iterdir(), key=lambda path: composed(path.name)):
                named = wanted is None or list_key(f"{folder.name}/{path.name}") in wanted
                if named and _is_clip(path):
                    self.paths.append(path)
                    labels.append(label)
        self.labels = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def __str__(self) -> str:
        if not self.available:
            return "This notebook can read no test clips: nothing to play or score here"
        return f"This notebook plays and scores {len(self):,} test clips: {self._what}"

    @property
    def available(self) -> bool:
        """Whether there is any clip."""
        return bool(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return a clip: float32 waveform in [-1, 1] at 16 kHz, shape [n_samples], and its class number."""
        return read_wav(self.paths[index]), int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        return (self[index] for index in range(len(self)))

    def one_of_each(self, words: Iterable[str], seed: int = 0) -> list[int]:
        """Return the index of one clip of each word that there is, drawn from a seed."""
        draw = np.random.default_rng(seed)
        classes = [self.classes.index(word) for word in words if word in self.classes]
        of_word = (np.flatnonzero(self.labels == label) for label in classes)
        return [int(draw.choice(indices)) for indices in of_word if len(indices)]


def _listed_in(root: Path) -> set[str]:
    """Return what the testing list of a training archive names."""
    try:
        return {list_key(line) for line in read_lines((root / TESTING_LIST).read_bytes())}
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{root / TESTING_LIST}: not a readable UTF-8 text ({error})") from error


def _is_clip(path: Path) -> bool:
    """Whether a file can be played and is no longer than a clip may be."""
    if is_litter(path.name) or not path.is_file():
        return False
    try:
        header = read_header(str(path), path.name)
    except DataError:
        return False
    return header.frames <= MAX_CLIP_SECONDS * header.rate


def reachable_clips(
    cards: local_data.Cards, classes: Sequence[str], test_data: str | None = None
) -> ClipFolder:
    """Open the test clips that this notebook may play and score; none of them is a normal answer.

    No card says where they are: an envoy is another's, and its path would be a trap.

    Args:
        cards: the shard cards.
        classes: class names in the order of their numbers.
        test_data: folder of a test archive, or the testing list of a training archive, whose clips it names;
            None: what `envoy/envoy_config.yaml` next to this folder names, if the envoys read such clips.

    Raises:
        ValueError: `test_data` names neither.
    """
    if test_data is None:
        own = local_data.own_folders(cards, local_data.OWN_CONFIG)
        if own is None:
            return ClipFolder(None, classes)
        what = f"those of source {own.source} that envoy/envoy_config.yaml names"
        return ClipFolder(own.test or own.train, classes, listed=own.test is None, what=what)
    place = Path(os.path.expanduser(test_data))
    if place.name == TESTING_LIST and place.is_file():
        return ClipFolder(place.parent, classes, listed=True, what="those that the list TEST_DATA names")
    if place.is_dir():
        return ClipFolder(place, classes, what="those in TEST_DATA")
    raise ValueError(
        f"test_data is {test_data!r}, nothing of the kind is here; legal: a test archive's folder, "
        f"a {TESTING_LIST}, None"
    )


def score(model: PreTrainedModel, clips: ClipFolder, extractor: Wav2Vec2FeatureExtractor) -> Score:
    """Score a model on clips as the envoys do; without clips, the score is of none.

    Args:
        model: for audio classification.
        clips: the clips.
        extractor: the model's feature extractor.
    """
    if not clips.available:
        return Score(0, 0)
    confusion = evaluate(model, ClipDataset(clips, extractor), "cpu")["confusion"]
    return Score(int(np.trace(confusion)), len(clips))


def players(clips: Iterable[tuple[str, np.ndarray]]) -> HTML:
    """Return audio players side by side.

    Args:
        clips: caption and float32 waveform in [-1, 1] at 16 kHz, for each.
    """
    cells = "".join(
        f'<figure style="margin:0 12px 10px 0"><figcaption>{html.escape(caption)}</figcaption>'
        f'<audio controls style="width:205px" src="{_wav_url(waveform)}"></audio></figure>'
        for caption, waveform in clips
    )
    return HTML(f'<div style="display:flex;flex-wrap:wrap">{cells}</div>')


def _wav_url(waveform: np.ndarray) -> str:
    """Return a URL that has the clip in it, at its own loudness."""
    wav = io.BytesIO()
    soundfile.write(wav, waveform, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return str(Audio(data=wav.getvalue(), rate=SAMPLING_RATE).src_attr())
