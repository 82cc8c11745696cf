"""What of a stranger's archive is let through, and its digest."""

import hashlib
import io
import stat
import struct
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from superb_node.approval.archive import ArchiveLimits, Contents, UnsoundArchive, read_archive, unpack
from superb_notebook.archive import digest, pack_workspace

ROOT = Path(__file__).resolve().parents[3]
PLAN = "submission:\n  settings:\n    id: {}\nrounds: 1\n"


def packed(
    *files: tuple[str, str], compression: int = zipfile.ZIP_DEFLATED, mode: int = 0, flags: int = 0
) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, about doubled names
        for name, text in files:
            entry = zipfile.ZipInfo(name, date_time=(1990 + len(files), 1, 1, 0, 0, 0))
            entry.external_attr, entry.compress_type = mode << 16, compression
            archive.writestr(entry, text)
            entry.flag_bits |= flags
    return data.getvalue()


def look(data: bytes, **limits: int) -> Contents:
    return read_archive(data, ArchiveLimits(**limits))


def test_the_digest_is_that_of_names_and_contents():
    one = packed(("b.py", "print('b')"), ("plan/plan.yaml", "rounds: 1\n"))
    other = packed(("plan/", ""), ("plan/plan.yaml", "rounds: 1\n"), ("b.py", "print('b')"), compression=0)
    # As `sha256sum b.py plan/plan.yaml | sha256sum` has it.
    lines = "".join(
        f"{hashlib.sha256(text).hexdigest()}  {name}\n"
        for name, text in (("b.py", b"print('b')"), ("plan/plan.yaml", b"rounds: 1\n"))
    )
    assert look(one).digest == look(other).digest == hashlib.sha256(lines.encode()).hexdigest()
    assert look(one).sizes == {"b.py": 10, "plan/plan.yaml": 10}
    assert look(packed(("b.py", "print('c')"), ("plan/plan.yaml", "rounds: 1\n"))).digest != look(one).digest
    assert look(packed(("c.py", "print('b')"), ("plan/plan.yaml", "rounds: 1\n"))).digest != look(one).digest


def test_only_the_id_of_a_submission_does_not_count():
    first, second = (look(packed(("plan/plan.yaml", PLAN.format(id)))) for id in (f"{1:032x}", f"'{2:032x}'"))
    assert first.digest == second.digest
    assert look(packed(("plan/plan.yaml", PLAN.format(f"{1:031x}")))).digest != first.digest
    assert look(packed(("plan/plan.yaml", PLAN.format(f"{1:032x} + code")))).digest != first.digest
    elsewhere = [look(packed(("other.yaml", PLAN.format(f"{number:032x}")))) for number in (1, 2)]
    assert elsewhere[0].digest != elsewhere[1].digest


def test_what_the_notebook_submits_is_let_through_and_has_the_digest_that_it_says(tmp_path):
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "plan.yaml").write_text(PLAN.format(f"{7:032x}"))
    (tmp_path / "task.pkl").write_bytes(b"\x80\x04N.")
    archive = pack_workspace(tmp_path, with_checkpoint=True)
    contents = look(archive.read_bytes())
    assert {"superb_ks/model/spec.py", "superb_ks/tiny/model.safetensors", "task.pkl"} <= set(contents.sizes)
    assert contents.digest == digest(archive)


TEXT = "print('x')\n" * 500


@pytest.mark.parametrize(
    ("data", "limits", "message"),
    [
        (packed(("a.py", "x" * 2**21), compression=0), {"megabytes": 1}, "bytes; archive_megabytes"),
        (packed(("a.py", "x" * 2**21)), {"unpacked_megabytes": 1}, "unpacked_megabytes allows 1,048,576"),
        (packed(("a.py", "x" * 2**21)), {}, "2,097,152 bytes unpacked; archive_ratio allows"),
        (packed(*((f"{n}.py", "") for n in range(4))), {"files": 3}, "4 files and folders; archive_files"),
        (packed(("../a.py", "")), {}, r"holds '\.\./a.py'; legal: a path"),
        (packed(("a/../../b.py", "")), {}, r"holds 'a/\.\./\.\./b.py'"),
        (packed(("/etc/passwd", "")), {}, "holds '/etc/passwd'"),
        (packed((".bashrc", "")), {}, r"holds '\.bashrc'"),
        (packed(("a//b.py", "")), {}, "holds 'a//b.py'"),
        (packed(("C:\\b.py", "")), {}, "holds 'C:"),
        (packed(("a\x1b[2J.py", "")), {}, r"holds 'a\\x1b\[2J.py'"),
        (packed(("-rf", "")), {}, "holds '-rf'"),
        (packed(("/".join("abcdefghi"), "")), {}, "path of up to 8 parts"),
        (packed(("a" * 101, "")), {}, "holds 'aaa"),
        (packed(("a.py", ""), ("a.py", "b")), {}, "'a.py' occurs twice"),
        (packed(("a.py", ""), ("A.py", "b")), {}, "'A.py' occurs twice"),
        (packed(("a", ""), ("a/b.py", "b")), {}, "'a/b.py' lies in a file"),
        (packed(("a.py", "/etc/passwd"), mode=stat.S_IFLNK | 0o777), {}, "'a.py' .* is a link or a device"),
        (packed(("a.py", ""), mode=stat.S_IFBLK | 0o666), {}, "'a.py' .* is a link or a device"),
        (packed(("a.py", ""), mode=stat.S_IFDIR | 0o777), {}, "'a.py' .* is a link or a device"),
        (packed(("a.py", ""), compression=zipfile.ZIP_BZIP2), {}, "'a.py' .* packed in an unusual way"),
        (packed(("a.py", "x"), flags=1), {}, "'a.py' .* is encrypted"),
        (b"", {}, "arrived damaged"),
        (b"no zip file at all, but long enough", {}, "arrived damaged"),
        (packed(("a.py", TEXT))[:-30], {}, "arrived damaged"),
        (packed(("a.py", TEXT)).replace(b"a.py", b"b.py", 1), {}, "arrived damaged"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_what_is_legal(data, limits, message):
    with pytest.raises(UnsoundArchive, match=message):
        look(data, **limits)


def test_a_zero_byte_hides_no_name():
    data = packed(("a.pyXX/../../b", "")).replace(b"a.pyXX", b"a.py\0X")
    with pytest.raises(UnsoundArchive, match=r"holds 'a.py\\x00X/\.\./\.\./b'"):
        look(data)


def test_every_flipped_byte_is_noticed_or_changes_nothing():
    data = packed(("a.py", "x = 1\n"), ("plan/plan.yaml", "rounds: 1\n"))
    digests = set()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x01
        try:
            digests.add(look(bytes(flipped)).digest)
        except UnsoundArchive:
            continue
        assert digests <= {look(data).digest}, place


def with_second_name(name: str, second: str) -> bytes:
    """Pack a file that has another name in an Info-ZIP Unicode Path field, which Python 3.12 obeys."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        entry = zipfile.ZipInfo(name)
        field = struct.pack("<BL", 1, zlib.crc32(name.encode())) + second.encode()
        entry.extra = struct.pack("<HH", 0x7075, len(field)) + field
        archive.writestr(entry, "print('never shown')")
    return data.getvalue()


def test_a_file_has_one_name() -> None:
    with pytest.raises(UnsoundArchive, match=r"'a\.py' in .* has a second name, or an extra field"):
        look(with_second_name("a.py", "superb_ks/t.py"))


@pytest.mark.parametrize(
    "name",
    [
        "superb_ks/t.pyc",
        "superb_ks/__pycache__/t.txt",
        "superb_ks/t.cpython-311-x86_64-linux-gnu.so",
        "a.pth",
    ],
)
def test_code_that_cannot_be_read_is_refused(name: str) -> None:
    with pytest.raises(UnsoundArchive, match="is code that cannot be read"):
        look(packed((name, "x")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# line ends: \rprint('hidden')\n", r"control character '\\r'"),
        ("# to the \u202eleft\n", r"control character '\\u202e'"),
        ("\ufeffprint()\n", r"control character '\\ufeff'"),
        ("# coding: raw_unicode_escape\n# \\u000aprint('hidden')\n", "encoding 'raw_unicode_escape'"),
        ("#!/usr/bin/python\n# -*- coding: latin-1 -*-\n", "encoding 'latin-1'"),
    ],
)
def test_a_source_is_what_a_review_shows(text: str, message: str) -> None:
    with pytest.raises(UnsoundArchive, match=message):
        look(packed(("a.py", text)))
    look(packed(("a.py", "# -*- coding: utf-8 -*-\n\tprint('Grüße')\n")))


def test_an_open_quote_of_an_id_hides_nothing() -> None:
    """It would swallow the plan up to the next quote, so that one digest were two plans."""
    plans = [PLAN.format(f"'{number:032x}\n    note: '") for number in (1, 2)]
    assert yaml.safe_load(plans[0])["submission"]["settings"].keys() == {"id"}
    digests = {look(packed(("plan/plan.yaml", plan))).digest for plan in plans}
    assert len(digests) == 2  # such an id counts


NAMES = st.text("ab./_", min_size=1, max_size=6).filter(lambda name: not name.endswith("/"))
FILES = st.dictionaries(NAMES, st.sampled_from(["", "x", "y", "x\n"]), max_size=3)


@given(FILES, FILES)
def test_archives_with_one_digest_have_the_same_files(one: dict[str, str], other: dict[str, str]) -> None:
    found = []
    for files in (one, other):
        try:
            found.append(look(packed(*files.items())).digest)
        except UnsoundArchive:
            return
    assert (found[0] == found[1]) == (one == other)


@given(FILES)
def test_what_was_measured_is_what_is_unpacked(files: dict[str, str]) -> None:
    data = packed(*files.items())
    with tempfile.TemporaryDirectory() as folder:
        try:
            unpack(data, Path(folder))
        except UnsoundArchive:
            files = {}
        there = {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in Path(folder).rglob("*")
            if path.is_file()
        }
    assert there == files
