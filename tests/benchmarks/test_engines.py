"""What the benchmark of the engines is asked for, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.engines.__main__ import PARTS, main, wanted


def test_real_speech_has_rows_where_its_folder_is_given(tmp_path: Path) -> None:
    synthetic, both = (wanted(PARTS, 1, data, [0]) for data in (None, tmp_path))
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
