"""Whose voice the notebook goes on with: the recorded one, or a synthetic one that no other envoy has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from superb_ks.training.data import ClipDataset
from superb_ks.training.evaluation import evaluate
from superb_node.labels import LISTED
from superb_notebook.history import Score
from superb_notebook.local_data import ENVOY, of_the_envoy
from superb_notebook.own_voice.folder import VoiceError, VoiceFolder

RECORDED, SYNTHETIC = "clips", "synthetic"
"""Folders within the envoy's."""


class Voice:
    """A voice with all the clips that an envoy needs.

    Args:
        folder: with the clips.
        is_synthetic: whether eSpeak NG speaks.
    """

    def __init__(self, folder: VoiceFolder, is_synthetic: bool) -> None:
        self.folder, self.is_synthetic = folder, is_synthetic

    def __str__(self) -> str:
        where = os.path.relpath(self.folder.root)
        if self.is_synthetic:
            return f"Nothing is recorded: a synthetic voice that no other envoy has stands in ({where})"
        return f"Your voice: {self.folder.recorded} recordings in {where}"

    def test_clips(self, extractor: Wav2Vec2FeatureExtractor) -> ClipDataset:
        """Return the test clips as the voice's envoy has them, silence included."""
        descriptor = of_the_envoy("superb_shard_descriptor").SuperbShardDescriptor(
            None,
            source="folder",
            data_dir=str(self.folder.root),
            test_dir=LISTED,
            labels=list(self.folder.labels),
        )
        return ClipDataset(descriptor.get_dataset("test"), extractor)

    def score(self, model: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor) -> Score:
        """Score a model on the voice's test clips, as its envoy does."""
        confusion = np.asarray(evaluate(model, self.test_clips(extractor), "cpu")["confusion"])
        return Score(int(confusion.trace()), int(confusion.sum()))


def voice_folder(envoy_folder: str, labels: Sequence[str], takes: int = 5) -> VoiceFolder:
    """Return the folder of recordings within an envoy's folder.

    Args:
        envoy_folder: made when it is needed.
        labels: the federation's classes.
        takes: how often each word is spoken.

    Raises:
        VoiceError: `takes` is illegal, or a class cannot be a folder's name.
    """
    return VoiceFolder(Path(os.path.expanduser(envoy_folder)) / RECORDED, labels, takes)


def recorder(recordings: VoiceFolder) -> Any:
    """Return the recorder for a folder, or None, with a line that says what it needs."""
    try:
        from superb_notebook.own_voice.recorder import Recorder
    except ModuleNotFoundError as error:
        if error.name != "anywidget":
            raise
        print(
            f"No recorder: anywidget is missing. In a terminal: {sys.executable} -m pip install anywidget; "
            "then load this page again in the browser, and run this cell again. Without it, the cells below "
            "use a synthetic voice."
        )
        return None
    if _is_newer_than_this_kernel("anywidget"):
        print(
            "anywidget was installed while this notebook was open. If no recorder appears below, load this "
            "page again in the browser, and run this cell again."
        )
    return Recorder(recordings)


def _is_newer_than_this_kernel(package: str) -> bool:
    """Whether a package was installed while this process ran: the page may lack its part for the browser."""
    found = distribution(package)
    record = Path(str(found.locate_file(f"{package}-{found.version}.dist-info/RECORD")))
    return record.is_file() and record.stat().st_mtime > psutil.Process().create_time()


def chosen_voice(recordings: VoiceFolder) -> Voice:
    """Return the recorded voice, or a synthetic one if nothing is recorded.

    Raises:
        VoiceError: some recordings are missing, or no voice can be synthesised.
    """
    if not recordings.missing:
        return Voice(recordings, is_synthetic=False)
    if recordings.recorded:
        raise VoiceError(
            f"still to be recorded above: {recordings.missing}. Then run this cell again. To go on with a "
            f"synthetic voice, move {os.path.relpath(recordings.root)} away"
        )
    root = recordings.root.with_name(SYNTHETIC)
    synthetic = VoiceFolder(root, recordings.labels, recordings.takes)
    if synthetic.missing:
        _synthesise(synthetic)
        synthetic = VoiceFolder(root, recordings.labels, recordings.takes)
    synthetic.write_lists()
    return Voice(synthetic, is_synthetic=True)


def _synthesise(folder: VoiceFolder) -> None:
    """Let the envoys' own package speak, in a process that eSpeak NG has to itself."""
    command = [sys.executable, "-m", "speech_commands.synthetic.one_voice", "--takes", str(folder.takes)]
    command += ["--", str(folder.root.resolve()), *folder.words]
    done = subprocess.run(command, cwd=ENVOY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VoiceError(
            f"no synthetic voice: {(done.stderr.strip() or 'eSpeak NG failed').splitlines()[-1]}"
        )
