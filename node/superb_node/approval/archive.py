"""An experiment's archive as what it is, a stranger's file: measured, read, unpacked, and never run."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from superb_node.approval.plan import fault_of_plan

# Each part of a file's path; no part begins with a dot, so neither `..` nor hidden files pass.
PART_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
MAX_PARTS = 8
MEGABYTE = 2**20
# The end of a ZIP archive without a comment, and what stands before it in one of the 64-bit kind.
_END, _END_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL")
# Bytes of the table of contents that a file may take: its fixed part, a name and some time stamps.
_ENTRY_BYTES = 1024
PLAN = "plan/plan.yaml"
# The one thing that differs between two submissions of the same files, and only as long as it is this.
_SUBMISSION_ID = re.compile(
    rb"^(submission:\n  settings:\n    id: )('[0-9a-f]{32}'|[0-9a-f]{32})$", re.MULTILINE
)
# What Python would load in place of the text that a review shows, or run when it starts.
_BINARY_CODE = (".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".pth", ".egg", ".zip")
_CACHE = "__pycache__"
# A line of this kind among the first two makes Python read the others in another encoding than the review.
_CODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


class UnsoundArchive(ValueError):
    """An archive that is not unpacked; the message says what is wrong with it and what is legal."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may have at most.

    Attributes:
        megabytes: of the archive, 2**20 bytes each.
        unpacked_megabytes: of all files in it.
        files: files and folders.
        ratio: unpacked bytes for a byte of the archive.
    """

    megabytes: int = 32
    unpacked_megabytes: int = 128
    files: int = 500
    ratio: int = 100


NO_LIMITS = ArchiveLimits(2**20, 2**20, 2**20, 2**20)
"""What was let in with any limits can be shown."""


@dataclass(frozen=True)
class Contents:
    """The files of an archive: bytes and SHA-256 by name, in the order of the names."""

    sizes: dict[str, int]
    digests: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of lines as `sha256sum` prints them, by name; owner, times and compression do not count."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in self.digests.items())
        return hashlib.sha256(lines.encode()).hexdigest()


def read_archive(data: bytes, limits: ArchiveLimits) -> Contents:
    """Look an archive through, with its checksums; nothing of it is written or run.

    Raises:
        UnsoundArchive: it is damaged, exceeds a limit, or holds a name that is illegal or occurs twice,
            a link or a device.
    """
    _require_at_most(len(data), limits.megabytes * MEGABYTE, "bytes", "archive_megabytes")
    try:
        announced = _small_table(data, limits)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) != announced:
                raise zipfile.BadZipFile(f"it lists {len(entries)} files and folders, not {announced}")
            _require_at_most(len(entries), limits.files, "files and folders", "archive_files")
            unpacked = sum(entry.file_size for entry in entries)
            _require_at_most(
                unpacked, limits.unpacked_megabytes * MEGABYTE, "bytes unpacked", "archive_unpacked_megabytes"
            )
            _require_at_most(unpacked, limits.ratio * len(data), "bytes unpacked", "archive_ratio")
            for entry in entries:
                _require_plain_file(entry)
            _require_names_apart(entries)
            files = sorted(
                (entry for entry in entries if not entry.is_dir()), key=lambda entry: entry.filename
            )
            digests = {entry.filename: _digest(entry, _content(archive, entry)) for entry in files}
    except UnsoundArchive:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        ValueError,
        OSError,
    ) as error:
        raise UnsoundArchive(
            f"the experiment's archive arrived damaged ({error}); submit it again"
        ) from error
    return Contents({entry.filename: entry.file_size for entry in files}, digests)


def unpack(data: bytes, folder: Path, limits: ArchiveLimits = NO_LIMITS) -> None:
    """Write the files of an archive below an empty folder, from the bytes that are measured here.

    Raises:
        UnsoundArchive: as by `read_archive`; nothing was written.
    """
    names = list(read_archive(data, limits).sizes)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))


def _require_at_most(count: int, limit: int, of_what: str, setting: str) -> None:
    if count > limit:
        raise UnsoundArchive(
            f"the experiment's archive has {count:,} {of_what}; {setting} allows {limit:,} here"
        )


def _small_table(data: bytes, limits: ArchiveLimits) -> int:
    """Return how many entries are announced; refuses a large table, as `zipfile` reads all of it."""
    if len(data) < _END.size:
        raise zipfile.BadZipFile("File is not a zip file")
    signature, _, _, _, entries, table_bytes, _, comment_bytes = _END.unpack(data[-_END.size :])
    before = data[-_END.size - _END_64.size : -_END.size]
    if signature != b"PK\x05\x06" or comment_bytes or before.startswith(b"PK\x06\x07"):
        raise zipfile.BadZipFile("File is not a zip file, or one with a comment or of the 64-bit kind")
    _require_at_most(entries, limits.files, "files and folders", "archive_files")
    _require_at_most(table_bytes, _ENTRY_BYTES * limits.files, "bytes of names", "archive_files")
    return int(entries)


def _require_plain_file(entry: zipfile.ZipInfo) -> None:
    """Refuse all but files and folders of legal names, packed in one of the two usual ways."""
    # `filename` is the name that is unpacked. Since Python 3.12 an extra field may set it, and it ends at a
    # zero byte; `orig_filename` is what the table of contents says.
    name, mode = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.removesuffix("/").split("/")
    if len(parts) > MAX_PARTS or not all(PART_PATTERN.fullmatch(part) for part in parts):
        raise UnsoundArchive(
            f"the experiment's archive holds {name[:200]!r}; legal: a path of up to {MAX_PARTS} parts of "
            "letters, digits, '_', '-' and '.', none of which begins with '-' or '.'"
        )
    if entry.filename != name or entry.extra:
        raise UnsoundArchive(f"{name!r} in the experiment's archive has a second name, or an extra field")
    if parts[-1].lower().endswith(_BINARY_CODE) or _CACHE in parts:
        raise UnsoundArchive(
            f"{name!r} in the experiment's archive is code that cannot be read; legal: Python sources"
        )
    if mode not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        raise UnsoundArchive(f"{name!r} in the experiment's archive is a link or a device; legal: files")
    if entry.is_dir() and entry.file_size:
        raise UnsoundArchive(f"the folder {name!r} in the experiment's archive has contents of its own")
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsoundArchive(f"{name!r} in the experiment's archive is encrypted or packed in an unusual way")


def _require_names_apart(entries: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse names that would meet on the disk; some file systems take no notice of capitals."""
    folders: dict[str, bool] = {}
    for entry in entries:
        name = entry.filename.removesuffix("/").casefold()
        if name in folders:
            raise UnsoundArchive(f"{entry.filename!r} occurs twice in the experiment's archive")
        folders[name] = entry.is_dir()
    for name in folders:
        parts = name.split("/")
        for count in range(1, len(parts)):
            if not folders.get("/".join(parts[:count]), True):
                raise UnsoundArchive(f"{name!r} lies in a file of the experiment's archive, not in a folder")


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read a file; reading compares its checksum."""
    content = archive.read(entry)
    if len(content) != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename} has {len(content)} bytes, not {entry.file_size}")
    if entry.filename.endswith((".py", ".yaml")):
        _require_readable(entry.filename, content)
    if entry.filename == PLAN and (fault := fault_of_plan(content)):
        raise UnsoundArchive(f"the experiment's plan, {PLAN}, is refused: {fault}")
    return content


def _require_readable(name: str, content: bytes) -> None:
    """Make sure that what a review shows of a source is what Python reads."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsoundArchive(f"{name!r} in the experiment's archive is not UTF-8: {error}") from error
    hidden = next((c for c in text if not c.isprintable() and c not in "\n\t"), None)
    if hidden is not None:
        raise UnsoundArchive(f"{name!r} in the experiment's archive holds the control character {hidden!r}")
    for line in text.split("\n")[:2]:
        if (coding := _CODING.match(line)) and coding[1].lower() not in ("utf-8", "utf8"):
            raise UnsoundArchive(f"{name!r} in the experiment's archive asks for the encoding {coding[1]!r}")


def _digest(entry: zipfile.ZipInfo, content: bytes) -> str:
    if entry.filename == PLAN:
        content = _SUBMISSION_ID.sub(rb"\g<1>-", content, count=1)
    return hashlib.sha256(content).hexdigest()
