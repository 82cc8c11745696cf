"""The official Speech Commands archives: fetched once, checked, unpacked with care."""

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

from speech_commands.errors import DataError
from speech_commands.reader.cache import cache_root, made_once
from speech_commands.reader.folders import TEST_FOLDER, TRAIN_FOLDER
from speech_commands.settings import Archive, ArchiveSettings

ATTEMPTS = 6
PAUSE = 1.0  # seconds before the next attempt, doubled each time
TIMEOUT = 60.0  # seconds without a byte
BLOCK = 1 << 20
MAX_EXPANSION = 20  # unpacked bytes for each packed one; the official archives have less than 2
MAX_MEMBERS = 1_000_000

logger = logging.getLogger(__name__)


def fetch_archives(archives: ArchiveSettings) -> tuple[Path, Path]:
    """Return the folders of the training and the test archive, downloaded first if they are not in the cache.

    Raises:
        DataError: the download fails, or an archive is not what its size and digest say, or not safe.

    """
    return tuple(  # type: ignore[return-value]
        made_once(
            cache_root() / f"archive-{archive.sha256[:16]}" / name,
            lambda folder, archive=archive: fetch(archive, folder),  # type: ignore[misc]
        )
        for name, archive in ((TRAIN_FOLDER, archives.train), (TEST_FOLDER, archives.test))
    )


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
    """Download to `packed`, going on where an earlier attempt was cut off, and check size and digest.

    Raises:
        DataError: every attempt failed, or what came is not what was promised.

    """
    for attempt in range(ATTEMPTS):
        try:
            receive(archive, packed)
            break
        except (OSError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500 and error.code != 416:
                raise DataError(f"{archive.url}: the server answers {error.code} {error.reason}") from error
            if attempt == ATTEMPTS - 1:
                raise DataError(
                    f"{archive.url}: cannot be downloaded ({error}); run again to go on"
                ) from error
            logger.info("%s was cut off (%s); going on", archive.url, error)
            time.sleep(PAUSE * 2**attempt)
    digest = sha256_of(packed)
    if digest != archive.sha256.lower():
        packed.unlink()
        raise DataError(f"{archive.url}: its SHA-256 is {digest}, and {archive.sha256} is wanted; deleted")


def receive(archive: Archive, packed: Path) -> None:
    """Append to `packed` what is missing of the archive.

    Raises:
        OSError, HTTPException: the line was cut; what came is kept.
        DataError: the body has another size than the archive.

    """
    have = packed.stat().st_size if packed.exists() else 0
    if have > archive.bytes:
        packed.unlink()
        have = 0
    if have == archive.bytes:
        return
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if have and response.status != 206:  # the server ignores ranges and sends everything again
            have = 0
        length = response.headers.get("Content-Length")
        if length is not None and have + int(length) != archive.bytes:
            raise DataError(f"{archive.url}: has {have + int(length)} bytes, and {archive.bytes} are wanted")
        bar = tqdm(
            total=archive.bytes, initial=have, desc=packed.name[:12], unit="B", unit_scale=True, disable=None
        )
        with bar, packed.open("ab" if have else "wb") as file:
            while block := response.read(BLOCK):
                have += len(block)
                if have > archive.bytes:
                    break
                file.write(block)
                bar.update(len(block))
    if have > archive.bytes:
        packed.unlink()
        raise DataError(f"{archive.url}: has more than the {archive.bytes} bytes that are wanted")
    if have < archive.bytes:
        raise ConnectionError(f"{have} of {archive.bytes} bytes came")


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
        limit: bytes that all files together may have.

    Raises:
        DataError: a member is a link or a device, has a path that leads out, or there is too much.

    """
    total = 0
    with tarfile.open(packed) as archive:
        for number, member in enumerate(archive):
            total += member.size
            if total > limit or number >= MAX_MEMBERS:
                raise DataError(f"{packed.name}: unpacks to more than {limit} bytes or {MAX_MEMBERS} members")
            path = safe_path(member, packed.name)
            if member.isdir():
                (folder / path).mkdir(parents=True, exist_ok=True)
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            source = archive.extractfile(member)
            with (folder / path).open("wb") as target:
                shutil.copyfileobj(source, target)  # type: ignore[arg-type]


def safe_path(member: tarfile.TarInfo, archive: str) -> PurePosixPath:
    """Return the path of a member that is a plain file or folder below the archive's root."""
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{archive}: {member.name!r} is a link or a device; files and folders are taken")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        raise DataError(f"{archive}: {member.name!r} leads out of the archive")
    return path
