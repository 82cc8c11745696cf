"""What the server of a run writes is read while it goes on."""

from pathlib import Path

from superb_ks.run_files import RECORDS, GrowingRecords


def test_each_record_is_read_once_and_only_when_its_line_is_whole(tmp_path: Path) -> None:
    records = GrowingRecords(tmp_path)
    assert records.new() == []
    with (tmp_path / RECORDS).open("wb", buffering=0) as file:
        for piece, new in (
            (b'{"round": 1}\n{"round": 2}\n{"ro', [{"round": 1}, {"round": 2}]),
            (b"und", []),
            (b'": 3}\n', [{"round": 3}]),
        ):
            file.write(piece)
            assert records.new() == new
