"""The benchmark of the engines: what it is asked for, and what a simulation is measured by."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engines.__main__ import PARTS, main, wanted
from benchmarks.engines.simulated import simulate
from simulation.options import Options
from superb_ks.run_files import FINISHED, RECORDS, STATUS


def test_real_speech_has_rows_where_its_folder_is_given(tmp_path: Path) -> None:
    synthetic, both = (wanted(PARTS, 1, (data, None), [0]) for data in (None, tmp_path))
    assert [name for name in synthetic if "real" in name] == []
    assert [name for name in both if name not in synthetic] == [
        "speakers, real sample, each speaker a client, 16 a round",
        "speakers, real sample, 4 envoys, by speaker",
        "speakers, real sample, all clips in one place",
    ]


def test_a_folder_that_is_not_there_is_refused_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--data=/nowhere"])
    assert ended.value.code == 2
    assert "DATA=/nowhere: no such folder" in capsys.readouterr().err


class TakesTimeToEnd:
    """An engine that writes a record, and ends a second later."""

    groups: set[int] = set()

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> TakesTimeToEnd:
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1)

    def run(self, config: dict[str, Any]) -> Iterator[None]:
        output = Path(config["output"])
        output.mkdir()
        (output / RECORDS).write_text(json.dumps({"round": 0}) + "\n")
        (output / STATUS).write_text(FINISHED)
        yield


@pytest.mark.parametrize("memory", [False, True])
def test_a_simulation_is_timed_to_its_last_record_and_its_memory_read_if_asked(
    memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.engines.simulated.Engine", TakesTimeToEnd)
    monkeypatch.setattr("benchmarks.engines.simulated.memory_of", lambda groups: 7)
    done = simulate(Options(), memory)
    assert done.records == [{"round": 0}]
    assert done.seconds < 0.9
    assert done.memory == (7 if memory else 0)
