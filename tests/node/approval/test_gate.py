"""The owner's gate: what waits, what opens it, and that nothing of an archive runs before."""

import hashlib
import logging
import os
import pickle
import sys
from pathlib import Path

import pytest
from superb_node.approval.archive import UnsoundArchive
from tests.node.approval.test_archive import packed

from superb_node.approval.__main__ import main as review_command
from superb_node.approval.gate import Declined, Gate
from superb_node.approval.settings import GateSettings
from superb_node.approval.store import ReviewError, Submission
from superb_node.errors import ConfigError

ARCHIVE = packed(("code.py", "one\ntwo\n"), ("plan/plan.yaml", "rounds: 1\n"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # as review.sh does
    return tmp_path / "approval" / "env_one"


@pytest.fixture
def gate(folder: Path) -> Gate:
    return Gate(GateSettings(approval="manual"), "the owner of env_one", folder)


def arrive(gate: Gate, archive: bytes = ARCHIVE, name: str = "exp", author: str = "ann") -> Submission:
    return gate.inspect(name, author, archive)


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["review.sh", *arguments])
    code = review_command()
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"approval": "ask"}, "config.yaml: approval is 'ask'; legal: open, manual, digest"),
        ({"approval": True}, "approval is True"),
        ({"approval_seconds": 0}, "approval_seconds is 0; legal: 1 to 604800"),
        ({"archive_megabytes": "32"}, "archive_megabytes is '32'; legal: 1 to 32"),
        ({"archive_unpacked_megabytes": 9000}, "archive_unpacked_megabytes is 9000; legal: 1 to 8192"),
        ({"archive_files": True}, "archive_files is True; legal: 1 to 100000"),
        ({"archive_ratio": 1.5}, "archive_ratio is 1.5; legal: 1 to 1000"),
        ({"approval": "digest"}, "approved_digests: .*approved_digests.txt cannot be read"),
    ],
)
def test_an_illegal_setting_is_named_with_what_is_legal(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        GateSettings.take(settings, tmp_path / "config.yaml")


def test_settings_are_taken_out_and_the_rest_is_left(tmp_path):
    settings = {"approval": "manual", "archive_files": 7, "approved_digests": "my.txt", "cpu_threads": 1}
    taken = GateSettings.take(settings, tmp_path / "config.yaml")
    assert settings == {"cpu_threads": 1}
    assert (taken.approval, taken.limits.files, taken.limits.megabytes) == ("manual", 7, 32)
    assert taken.approved_digests == tmp_path / "my.txt"
    assert GateSettings.take({}, tmp_path / "config.yaml").approval == "open"


def test_the_setting_says_what_it_means(folder, caplog):
    caplog.set_level(logging.INFO)
    open_gate = Gate(GateSettings(), "the owner", folder)
    open_gate.announce("localhost")
    open_gate.announce("10.0.0.1")
    Gate(GateSettings("manual"), "the owner", folder).announce("10.0.0.1")
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]
    assert "approval: open: code of every experiment that arrives runs here unseen" in caplog.messages[0]
    assert "bash review.sh" in caplog.messages[2]


def test_an_open_gate_keeps_the_limits(folder):
    gate = Gate(GateSettings(), "the owner", folder)
    assert gate.is_approved(arrive(gate))
    with pytest.raises(UnsoundArchive, match="link or a device"):
        arrive(gate, packed(("code.py", "/etc/passwd"), mode=0o120777))
    assert not folder.exists()


def test_only_listed_digests_pass_and_the_list_is_read_anew(folder, tmp_path):
    listed = tmp_path / "digests.txt"
    listed.write_text(f"# of last week\n\n{'0' * 64}  # the first one\n")
    settings = {"approval": "digest", "approved_digests": str(listed)}
    gate = Gate(GateSettings.take(settings, tmp_path / "config.yaml"), "the owner", folder)
    submission = arrive(gate)
    with pytest.raises(Declined, match=f"digest {submission.digest} is not on the list of the owner"):
        gate.is_approved(submission)
    listed.write_text(f"{submission.digest}\n")
    assert gate.is_approved(submission)
    listed.write_text("deadbeef\n")
    with pytest.raises(Declined, match="holds 'deadbeef'; legal: 64 digits"):
        gate.is_approved(submission)


def test_an_approval_counts_for_the_same_name_author_and_digest_alone(gate, monkeypatch, capsys):
    submission = arrive(gate)
    assert not gate.is_approved(submission)
    with gate.pending(submission, ARCHIVE) as approved:
        assert not approved()
        assert command(monkeypatch, capsys) == (0, f"exp of ann at env_one, digest {submission.digest}\n")
        code, said = command(monkeypatch, capsys, "approve", "exp", submission.digest[:32])
        assert (code, said) == (0, f"approved at env_one: exp, digest {submission.digest}\n")
        assert approved()
    assert gate.is_approved(arrive(gate)), "as when the envoy comes back, or the experiment is resumed"
    assert not gate.is_approved(arrive(gate, author="bob"))
    assert not gate.is_approved(arrive(gate, name="exp2"))
    assert not gate.is_approved(arrive(gate, packed(("code.py", "one\n"))))
    assert command(monkeypatch, capsys) == (0, "")


def test_a_rejection_counts_once_and_tells_its_reason(gate, monkeypatch, capsys):
    submission = arrive(gate)
    with gate.pending(submission, ARCHIVE) as approved:
        command(monkeypatch, capsys, "reject", "exp", "--reason", "too large a model")
        with pytest.raises(Declined, match="rejected by the owner of env_one: too large a model"):
            approved()
    with gate.pending(submission, ARCHIVE) as approved:
        assert not approved(), "it is asked for again"


def test_nobody_answers(folder):
    gate = Gate(GateSettings("manual", approval_seconds=0), "the owner", folder)
    with (
        pytest.raises(Declined, match="not approved by the owner within 0 s"),
        gate.pending(arrive(gate), ARCHIVE) as approved,
    ):
        approved()
    assert not list(folder.rglob("*.zip"))


def test_the_command_names_what_it_does_not_find(gate, monkeypatch, capsys):
    code, said = command(monkeypatch, capsys, "approve", "exp", "0" * 32)
    wanted = f"exp with a digest {'0' * 32}…"
    assert (code, said) == (2, f"review: no experiment {wanted} waits here; waiting: none\n")
    submission = arrive(gate)
    with gate.pending(submission, ARCHIVE) as approved:
        code, said = command(monkeypatch, capsys, "approve", "exp", "0123456789abcdef" * 2)
        assert (code, approved()) == (2, False), "another one than was looked at"
        assert (
            f"a digest {'0123456789abcdef' * 2}… waits here; waiting: exp ({submission.digest[:12]})" in said
        )
        for digest in ([], [submission.digest[:31]], [submission.digest.upper()]):
            code, said = command(monkeypatch, capsys, "approve", "exp", *digest)
            assert (code, approved()) == (2, False)
            assert "approve exp wants the digest that `show` printed" in said
        assert command(monkeypatch, capsys, "approve", "exp", submission.digest)[0] == 0
        assert approved()
    with pytest.raises(ReviewError, match=r"experiment name '\.\./exp'; legal: a letter"):
        gate.store.archive("../exp")


def test_an_archive_that_was_exchanged_is_neither_shown_nor_approved(gate, monkeypatch, capsys):
    submission = arrive(gate)
    other = packed(("code.py", "three\n"))
    with gate.pending(submission, ARCHIVE) as approved:
        command_to_copy = f"To let it run: bash review.sh approve exp {submission.digest}\n"
        assert command(monkeypatch, capsys, "show", "exp")[1].endswith(command_to_copy)
        gate.store.archive("exp").write_bytes(other)  # before its digest is noted next to it
        for words in (["show", "exp"], ["approve", "exp", submission.digest]):
            code, said = command(monkeypatch, capsys, *words)
            assert code == 2
            assert (
                f"the archive of exp has digest {arrive(gate, other).digest}, not {submission.digest}" in said
            )
        with pytest.raises(ReviewError, match="another one waits under that name"):
            gate.store.record_decision(submission, "approved")
        assert not approved()
    assert not gate.store.last_approved.exists()


def test_nobody_else_enters_the_folders(gate):
    before = os.umask(0o002)
    try:
        with gate.pending(arrive(gate), ARCHIVE):
            folders = [gate.store.folder.parent, gate.store.folder, gate.store.folder / "waiting"]
            assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 3
    finally:
        os.umask(before)


def test_the_difference_from_what_was_approved_last(gate, monkeypatch, capsys):
    with gate.pending(arrive(gate), ARCHIVE):
        assert "Nothing was approved here before" in command(monkeypatch, capsys, "show", "exp")[1]
        command(monkeypatch, capsys, "approve", "exp", arrive(gate).digest)
    files = (("code.py", "one\n2\n"), ("new.py", "three\n"), ("notes.txt", "\\x1b\x1b[2J\u202e"))
    changed = packed(*files, ("task.pkl", "\x80\0"))
    submission = arrive(gate, changed, "exp2", "b\x1b[31mob")
    with gate.pending(submission, changed):
        code, said = command(monkeypatch, capsys, "show", "exp2")
    assert code == 0
    first, *lines, _ = said.splitlines()
    assert first == rf"Experiment exp2 of b\x1b[31mob, digest {submission.digest}"
    old = arrive(gate).digest
    difference = lines[lines.index(f"Compared with what was approved last, digest {old}:") + 1 :]
    assert difference == [
        "--- approved/code.py", "+++ now/code.py", "@@ -1,3 +1,3 @@", " one", "-two", "+2", " ",
        "--- approved/new.py", "+++ now/new.py", "@@ -0,0 +1,2 @@", "+three", "+",
        "--- approved/notes.txt", "+++ now/notes.txt", "@@ -0,0 +1 @@", r"+\\x1b\x1b[2J\u202e",
        "--- approved/plan/plan.yaml", "+++ now/plan/plan.yaml", "@@ -1,2 +0,0 @@", "-rounds: 1", "-",
        difference[-1],
    ]  # fmt: skip
    digest = hashlib.sha256("\x80\0".encode()).hexdigest()
    assert difference[-1].startswith(f"NOT SHOWN: task.pkl: digest none before, {digest} now (no text, or")


def test_nothing_is_unpickled_imported_or_unpacked_before_the_approval(
    gate, tmp_path, monkeypatch, capsys, caplog
):
    caplog.set_level(logging.INFO)
    trace = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return Path.touch, (trace,)

    module = f"from pathlib import Path\nPath({str(trace)!r}).touch()\n"
    traps = {
        "task.pkl": pickle.dumps(Trap(), protocol=0).decode("ascii"),
        "code.py": module,
        "plan/plan.yaml": "a: 1\n",
    }
    archive = packed(*((name, text) for name, text in traps.items()))
    for set_off in (lambda: pickle.loads(pickle.dumps(Trap())), lambda: exec(module, {})):
        set_off()
        assert trace.exists(), "the traps work"
        trace.unlink()
    submission = arrive(gate, archive)
    with gate.pending(submission, archive) as approved:
        gate.show(submission)
        command(monkeypatch, capsys, "show", "exp")
        assert not approved()
        files = sorted(path.name for path in gate.store.folder.rglob("*"))
        assert files == ["exp.json", "exp.zip", "waiting"]
    assert not trace.exists()
    assert f"{len(module):>12,}  code.py" in caplog.text
    assert f"All of it lies in {gate.store.archive('exp')}" in caplog.text
    assert "NOT SHOWN: the texts of all files" in caplog.text
    assert f"bash review.sh approve exp {submission.digest}" in caplog.text
