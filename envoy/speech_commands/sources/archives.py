"""The official Speech Commands archives: downloaded once, verified, unpacked safely.

The downloader is our own, because pooch (1.9) starts a broken download over, and the training archive has
1.5 GB. So is the check of members: tarfile's `data` filter is missing in Python before 3.10.12 and 3.11.4,
and accepts links and absolute names.
"""

import hashlib
import logging
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from speech_commands.reader.cache import cache_root, make_once
from speech_commands.settings import Archive, ArchiveSettings
from superb_node.errors import DataError
from superb_node.labels import TEST_FOLDER, TRAIN_FOLDER

MAX_ATTEMPTS = 6
RETRY_PAUSE_SECONDS = 1.0  # before the second attempt; doubled each time
READ_TIMEOUT_SECONDS = 60.0
BLOCK = 1 << 20  # bytes
MAX_EXPANSION = 20  # unpacked bytes for each packed byte; the official archives have less than 2
MAX_MEMBERS = 1_000_000

logger = logging.getLogger(__name__)


def fetch_archives(archives: ArchiveSettings) -> tuple[Path, Path]:
    """Return the folders of the training and the test archive; download those that are not in the cache.

    Raises:
        DataError: the download fails, or an archive is unsafe or does not match its size and digest.
    """

    def folder_of(name: str, archive: Archive) -> Path:
        folder = cache_root() / f"archive-{archive.sha256[:16]}" / name
        return make_once(folder, lambda partial: fetch(archive, partial))

    return folder_of(TRAIN_FOLDER, archives.train), folder_of(TEST_FOLDER, archives.test)


def fetch(archive: Archive, folder: Path) -> None:
    """Download an archive and unpack it into an empty folder."""
    packed = cache_root() / "downloads" / f"{archive.sha256}.tar.gz"
    packed.parent.mkdir(parents=True, exist_ok=True)
    download(archive, packed)
    try:
        unpack(packed, folder, limit=MAX_EXPANSION * archive.bytes)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{archive.url}: cannot be unpacked ({error})") from error
    packed.unlink()


def download(archive: Archive, packed: Path) -> None:
    """Download to `packed`, resuming an earlier attempt, and verify size and digest.

    Raises:
        DataError: every attempt failed, or the file is not the expected one.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            receive(archive, packed)
            break
        except (OSError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500 and error.code != 416:
                raise DataError(f"{archive.url}: the server answers {error.code} {error.reason}") from error
            if attempt == MAX_ATTEMPTS:
                raise DataError(
                    f"{archive.url}: cannot be downloaded ({error}); run again to resume"
                ) from error
            logger.info("The download of %s broke off (%s); resuming", archive.url, error)
            time.sleep(RETRY_PAUSE_SECONDS * 2 ** (attempt - 1))
    digest = sha256_of(packed)
    if digest != archive.sha256.lower():
        packed.unlink()
        raise DataError(f"{archive.url}: its SHA-256 is {digest}, expected {archive.sha256}; deleted")


def receive(archive: Archive, packed: Path) -> None:
    """Append what `packed` still lacks of the archive.

    Raises:
        OSError, HTTPException: the connection broke; what has arrived is kept.
        DataError: the server sends a file of another size.
    """
    size = packed.stat().st_size if packed.exists() else 0
    if size == archive.bytes:
        return
    if size > archive.bytes:
        size = 0
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={size}-"} if size else {})
    with urllib.request.urlopen(request, timeout=READ_TIMEOUT_SECONDS) as response:
        if response.status != 206:  # the server ignores ranges and sends everything again
            size = 0
        length = response.headers.get("Content-Length")
        if length is not None and size + int(length) != archive.bytes:
            raise DataError(f"{archive.url}: has {size + int(length)} bytes, expected {archive.bytes}")
        bar = tqdm(
            total=archive.bytes, initial=size, desc=packed.name[:12], unit="B", unit_scale=True, disable=None
        )
        with bar, packed.open("ab" if size else "wb") as file:
            while size <= archive.bytes and (block := response.read(BLOCK)):
                size += file.write(block)
                bar.update(len(block))
    if size > archive.bytes:
        packed.unlink()
        raise DataError(f"{archive.url}: has more than the expected {archive.bytes} bytes")
    if size < archive.bytes:
        raise ConnectionError(f"{size} of {archive.bytes} bytes arrived")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def unpack(packed: Path, folder: Path, limit: int) -> None:
    """Unpack files and folders, and nothing else, into `folder`.

    Args:
        packed: a tar file, compressed or not.
        folder: an existing folder.
        limit: maximum size of all files together in bytes.

    Raises:
        DataError: a member is a link or a device, its path leads out of the folder, or there is too much.
    """
    total = 0
    with tarfile.open(packed) as archive:
        for number, member in enumerate(archive):
            total += member.size
            if total > limit or number >= MAX_MEMBERS:
                raise DataError(f"{packed.name}: unpacks to more than {limit} bytes or {MAX_MEMBERS} members")
            path = folder / safe_path(member, packed.name)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                shutil.copyfileobj(archive.extractfile(member), target)  # type: ignore[arg-type]


def safe_path(member: tarfile.TarInfo, archive: str) -> PurePosixPath:
    """Return the path of a member that is a plain file or folder below the archive's root."""
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{archive}: {member.name!r} is a link or a device; only files and folders are legal")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        raise DataError(f"{archive}: {member.name!r} leads out of the archive")
    return path
