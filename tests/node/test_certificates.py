"""A node that can read its authority's key says so: experiments run as its account."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from certificates.federation import make_certificates
from superb_node.certificates import Certificates, authorities

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("outside", [False, True])
def test_the_key_is_named_as_long_as_it_can_be_read(
    tmp_path: Path, outside: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make_certificates(tmp_path / "certs", authorities=authorities() if outside else None)
    given = Certificates.given(tmp_path / "certs" / "director")
    assert given is not None and given.name == "director"
    (said,) = caplog.messages
    (key,) = (tmp_path / "home").glob(".*/*/private_key.pem") if outside else [tmp_path / "certs/authority/x"]
    assert said.endswith(f"makes any identity: move {key.parent} to another account or machine")
    shutil.move(key.parent, tmp_path / "stick")
    Certificates.given(tmp_path / "certs" / "director")
    assert caplog.messages == [said]


def test_the_key_of_another_federation_is_none_of_its_business(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_certificates(tmp_path / "theirs", authorities=authorities())
    make_certificates(tmp_path / "ours", authorities=tmp_path / "stick")
    Certificates.given(tmp_path / "ours" / "director")
    assert caplog.messages == []
