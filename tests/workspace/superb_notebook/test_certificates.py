"""The notebook's certificates: who it is, and what is wrong with a folder that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificates.federation import make_certificates
from superb_ks.settings import Addresses, Settings
from superb_node.certificates import Certificates
from superb_notebook.connect import FederationError, connect
from tests.support.earlier import days_ago


def test_the_name_is_the_certificates(tmp_path: Path) -> None:
    make_certificates(tmp_path, user="alice")
    own = Certificates.in_folder(tmp_path / "alice")
    assert own.name == "alice"
    assert own.private_key == tmp_path / "alice" / "private_key.pem"


def test_a_folder_that_cannot_be_used_is_named_before_anybody_is_called(tmp_path: Path) -> None:
    settings = Settings(addresses=Addresses(certificates=str(tmp_path / "notebook")))
    with pytest.raises(FederationError, match=r"notebook: root_certificate.pem is missing"):
        connect(settings)
    with days_ago(2):
        make_certificates(tmp_path, days=1)
    with pytest.raises(FederationError, match=r"notebook/certificate.pem expired on \d+-\d+-\d+"):
        connect(settings)
    (tmp_path / "notebook" / "private_key.pem").chmod(0o644)
    with pytest.raises(FederationError, match=r"may be read by others \(mode 644\): chmod 600"):
        connect(settings)
    (tmp_path / "notebook" / "private_key.pem").chmod(0o600)
    (tmp_path / "notebook" / "certificate.pem").write_text("no certificate")
    with pytest.raises(FederationError, match=r"certificate.pem is not a certificate in PEM format"):
        connect(settings)
