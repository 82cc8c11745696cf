"""Downloading and unpacking the archives, against a server on this machine that misbehaves."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import speech_commands.sources.archives as archives_module
from speech_commands.settings import Archive, ArchiveSettings
from speech_commands.sources.archives import download, fetch, fetch_archives, unpack
from superb_node.errors import DataError
from superb_shard_descriptor import SuperbShardDescriptor

Folders = tuple[Path, Path]


@dataclass
class Site:
    """What the server has and how it behaves."""

    body: bytes = b""
    other: bytes = b""  # under /other
    cut_after: list[int] = field(default_factory=list)  # bytes sent in each of the next answers
    ranges: bool = True
    status: int | None = None
    requests: list[str | None] = field(default_factory=list)
    url: str = ""

    def archive(self) -> Archive:
        """Describe the body truthfully."""
        return Archive(self.url, len(self.body), hashlib.sha256(self.body).hexdigest())


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(archives_module, "RETRY_PAUSE_SECONDS", 0.0)
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.requests.append(wanted)
            if site.status:
                self.send_error(site.status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.ranges else 0
            body = site.other if self.path == "/other" else site.body
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = start + site.cut_after.pop(0) if site.cut_after else len(body)
            self.wfile.write(body[start:end])

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/archive.tar.gz"
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return tmp_path / "packed.tar.gz"


def test_a_download_arrives_whole(site: Site, packed: Path) -> None:
    site.body = bytes(range(256)) * 5000
    download(site.archive(), packed)
    assert packed.read_bytes() == site.body
    assert site.requests == [None]


def test_a_cut_line_is_resumed(site: Site, packed: Path) -> None:
    site.body = bytes(range(256)) * 5000
    site.cut_after = [100_000, 300_000, 0]
    download(site.archive(), packed)
    assert packed.read_bytes() == site.body
    assert site.requests == [None, "bytes=100000-", "bytes=400000-", "bytes=400000-"]


def test_an_earlier_run_is_resumed(site: Site, packed: Path) -> None:
    site.body = b"abcdef" * 1000
    packed.write_bytes(site.body[:2500])
    download(site.archive(), packed)
    assert packed.read_bytes() == site.body
    assert site.requests == ["bytes=2500-"]


def test_a_server_without_ranges_starts_over(site: Site, packed: Path) -> None:
    site.body = b"abcdef" * 1000
    site.ranges, site.cut_after = False, [2500]
    download(site.archive(), packed)
    assert packed.read_bytes() == site.body
    assert site.requests == [None, "bytes=2500-"]


def test_a_line_that_is_always_cut_is_given_up_and_kept(site: Site, packed: Path) -> None:
    site.body = b"abcdef" * 1000
    site.cut_after = [10] * 100
    with pytest.raises(DataError, match="cannot be downloaded.*run again to resume"):
        download(site.archive(), packed)
    assert len(site.requests) == archives_module.MAX_ATTEMPTS
    assert packed.read_bytes() == site.body[:60]


def test_a_wrong_body_is_refused(site: Site, packed: Path) -> None:
    expected = replace(site.archive(), bytes=6000)
    site.body = b"<html>moved</html>"
    with pytest.raises(DataError, match="has 18 bytes, expected 6000"):
        download(expected, packed)


def test_a_wrong_digest_is_refused_and_deleted(site: Site, packed: Path) -> None:
    site.body = b"x" * 6000
    with pytest.raises(DataError, match="SHA-256"):
        download(replace(site.archive(), sha256="0" * 64), packed)
    assert not packed.exists()


def test_more_on_disk_than_there_is_starts_over(site: Site, packed: Path) -> None:
    site.body = b"abcdef"
    packed.write_bytes(b"x" * 100)
    download(site.archive(), packed)
    assert packed.read_bytes() == site.body


def test_not_found_is_final(site: Site, packed: Path) -> None:
    site.body, site.status = b"abc", 404
    with pytest.raises(DataError, match="the server answers 404"):
        download(site.archive(), packed)
    assert len(site.requests) == 1


def test_an_error_of_the_server_is_tried_again(site: Site, packed: Path) -> None:
    site.body, site.status = b"abc", 503
    with pytest.raises(DataError, match="503"):
        download(site.archive(), packed)
    assert len(site.requests) == archives_module.MAX_ATTEMPTS


def test_nobody_there_is_named(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives_module, "RETRY_PAUSE_SECONDS", 0.0)
    with pytest.raises(DataError, match=r"http://127.0.0.1:9/x: cannot be downloaded"):
        download(Archive("http://127.0.0.1:9/x", 5, "00"), packed)


def tar_of(*members: tuple[str, bytes | str, bytes]) -> bytes:
    """Pack (name, type or link target, content) members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(kind, str):
                member.type, member.linkname = tarfile.SYMTYPE, kind
            else:
                member.type = kind
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def hard_link(name: str, target: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.LNKTYPE, target
        archive.addfile(member)
    return buffer.getvalue()


FILE = tarfile.REGTYPE
NOISE = np.random.default_rng(0).bytes(50_000)  # what gzip cannot make smaller


@pytest.mark.parametrize(
    "hostile",
    [
        tar_of(("/etc/evil", FILE, b"x")),
        tar_of(("../evil", FILE, b"x")),
        tar_of(("yes/../../evil", FILE, b"x")),
        tar_of(("link", "/etc", b""), ("link/evil", FILE, b"x")),
        tar_of(("link", "..", b"")),
        hard_link("passwords", "/etc/passwd"),
        tar_of(("pipe", tarfile.FIFOTYPE, b"")),
        tar_of(("device", tarfile.CHRTYPE, b"")),
        tar_of(("bomb", FILE, b"\0" * 200_000)),
    ],
    ids=["absolute", "up", "up-inside", "through-link", "link-up", "hard-link", "pipe", "device", "bomb"],
)
def test_a_hostile_archive_writes_nothing_outside(hostile: bytes, site: Site, own_cache: Path) -> None:
    site.body = hostile
    before = {path for path in own_cache.parent.rglob("*") if own_cache not in path.parents}
    with pytest.raises(DataError):
        fetch_archives(ArchiveSettings(site.archive(), site.archive()))
    assert before == {path for path in own_cache.parent.rglob("*") if own_cache not in path.parents}
    assert not list(own_cache.rglob("evil"))
    assert not list(own_cache.rglob("*.partial-*"))
    assert not list(own_cache.rglob("speech_commands_v0.01"))


def test_many_small_members_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives_module, "MAX_MEMBERS", 3)
    (tmp_path / "a.tar.gz").write_bytes(tar_of(*((f"{n}", FILE, b"") for n in range(4))))
    with pytest.raises(DataError, match="3 members"):
        unpack(tmp_path / "a.tar.gz", tmp_path, limit=1000)


@pytest.mark.parametrize("body", [b"not a tar", tar_of(("a", FILE, NOISE))[:-40]])
def test_a_damaged_archive_is_named(site: Site, tmp_path: Path, body: bytes) -> None:
    site.body = body
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch(site.archive(), tmp_path)


def pack(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def test_the_source_reads_what_it_fetched_and_fetches_once(site: Site, archives: Folders) -> None:
    site.body, site.other = pack(archives[0]), pack(archives[1])
    settings = {
        name: {"url": url, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        for name, url, body in (
            ("train", site.url, site.body),
            ("test", site.url.replace("/archive.tar.gz", "/other"), site.other),
        )
    }
    shards = [SuperbShardDescriptor(rank, "archives", archives=settings) for rank in ("1, 2", "2, 2")]
    assert site.requests == [None, None]
    assert sum(len(shard.get_dataset("train")) for shard in shards) == 24
    assert shards[0].get_dataset("test")[0][0].shape == (1600,)
