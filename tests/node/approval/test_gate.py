"""The owner's gate: what waits, what opens it, and that nothing of an experiment runs before."""

import json
import logging
import os
import re
import sys
from pathlib import Path

import pytest

from superb_ks.collaborator.tasks import load_tasks
from superb_ks.experiment import UnsoundExperiment, digest
from superb_node.approval.__main__ import main as review_command
from superb_node.approval.gate import Declined, Gate
from superb_node.approval.review import review
from superb_node.approval.settings import GateSettings
from superb_node.approval.store import ReviewError, Submission
from superb_node.errors import ConfigError
from tests.support.experiments import MODEL, TASKS, changed_text, experiment_text

TEXT = experiment_text(rounds=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # as review.sh does
    return tmp_path / "approval" / "env_one"


@pytest.fixture
def gate(folder: Path) -> Gate:
    return Gate(GateSettings(approval="manual"), "the owner of env_one", folder)


def arrive(gate: Gate, text: bytes = TEXT, name: str = "exp", author: str = "ann") -> Submission:
    return gate.inspect(name, author, text)


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
        ({"approval_seconds": True}, "approval_seconds is True; legal: 1 to 604800"),
        ({"approval_seconds": "60"}, "approval_seconds is '60'; legal: 1 to 604800"),
        ({"approval": "digest"}, "approved_digests: .*approved_digests.txt cannot be read"),
    ],
)
def test_an_illegal_setting_is_named_with_what_is_legal(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        GateSettings.take(settings, tmp_path / "config.yaml")


def test_settings_are_taken_out_and_the_rest_is_left(tmp_path):
    settings = {"approval": "manual", "approval_seconds": 7, "approved_digests": "my.txt", "cpu_threads": 1}
    taken = GateSettings.take(settings, tmp_path / "config.yaml")
    assert settings == {"cpu_threads": 1}
    assert (taken.approval, taken.approval_seconds) == ("manual", 7)
    assert taken.approved_digests == tmp_path / "my.txt"
    assert GateSettings.take({}, tmp_path / "config.yaml").approval == "open"


def test_the_setting_says_what_it_means(folder, caplog):
    caplog.set_level(logging.INFO)
    open_gate = Gate(GateSettings(), "the owner", folder)
    open_gate.announce("localhost")
    open_gate.announce("10.0.0.1")
    Gate(GateSettings("manual"), "the owner", folder).announce("10.0.0.1")
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]
    assert "approval: open: every experiment that arrives runs here unseen" in caplog.messages[0]
    assert "bash review.sh" in caplog.messages[2]


def test_an_open_gate_refuses_what_is_no_experiment_of_this_package(folder):
    gate = Gate(GateSettings(), "the owner", folder)
    assert gate.is_approved(arrive(gate))
    with pytest.raises(UnsoundExperiment, match="holds? the control character"):
        arrive(gate, changed_text(tasks="x = 1\x1b[2J"))
    other = {"version": "0.0.1", "digest": "f" * 64}
    with pytest.raises(
        Declined, match=r"another package superb_ks, '0.0.1 \(ffffffffffff\)', than the one here"
    ):
        arrive(gate, changed_text(package=other))
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
    with gate.pending(submission, TEXT) as approved:
        assert not approved()
        assert command(monkeypatch, capsys) == (0, f"exp of ann at env_one, digest {submission.digest}\n")
        code, said = command(monkeypatch, capsys, "approve", "exp", submission.digest[:32])
        assert (code, said) == (0, f"approved at env_one: exp, digest {submission.digest}\n")
        assert approved()
    assert gate.is_approved(arrive(gate)), "as when the envoy comes back, or the experiment is resumed"
    assert not gate.is_approved(arrive(gate, author="bob"))
    assert not gate.is_approved(arrive(gate, name="exp2"))
    assert not gate.is_approved(arrive(gate, experiment_text(rounds=2)))
    assert command(monkeypatch, capsys) == (0, "")


def test_a_rejection_counts_once_and_tells_its_reason(gate, monkeypatch, capsys):
    submission = arrive(gate)
    with gate.pending(submission, TEXT) as approved:
        command(monkeypatch, capsys, "reject", "exp", "--reason", "too large a model")
        with pytest.raises(Declined, match="rejected by the owner of env_one: too large a model"):
            approved()
    with gate.pending(submission, TEXT) as approved:
        assert not approved(), "it is asked for again"


def test_nobody_answers(folder):
    gate = Gate(GateSettings("manual", approval_seconds=0), "the owner", folder)
    with (
        pytest.raises(Declined, match="not approved by the owner within 0 s"),
        gate.pending(arrive(gate), TEXT) as approved,
    ):
        approved()
    assert not list(folder.rglob("*.experiment"))


def test_the_command_names_what_it_does_not_find(gate, monkeypatch, capsys):
    code, said = command(monkeypatch, capsys, "approve", "exp", "0" * 32)
    wanted = f"exp with a digest {'0' * 32}…"
    assert (code, said) == (2, f"review: no experiment {wanted} waits here; waiting: none\n")
    submission = arrive(gate)
    with gate.pending(submission, TEXT) as approved:
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
        gate.store.text_file("../exp")


def test_a_text_that_was_exchanged_is_neither_shown_nor_approved(gate, monkeypatch, capsys):
    submission = arrive(gate)
    other = experiment_text(rounds=3)
    with gate.pending(submission, TEXT) as approved:
        command_to_copy = f"To let it run: bash review.sh approve exp {submission.digest}\n"
        assert command(monkeypatch, capsys, "show", "exp")[1].endswith(command_to_copy)
        gate.store.text_file("exp").write_bytes(other)  # before its digest is noted next to it
        for words in (["show", "exp"], ["approve", "exp", submission.digest]):
            code, said = command(monkeypatch, capsys, *words)
            assert code == 2
            assert f"the text of exp has digest {arrive(gate, other).digest}, not {submission.digest}" in said
        with pytest.raises(ReviewError, match="another one waits under that name"):
            gate.store.record_decision(submission, "approved")
        assert not approved()
    assert not gate.store.last_approved.exists()


def test_nobody_else_enters_the_folders(gate):
    before = os.umask(0o002)
    try:
        with gate.pending(arrive(gate), TEXT):
            folders = [gate.store.folder.parent, gate.store.folder, gate.store.folder / "waiting"]
            assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 3
    finally:
        os.umask(before)


def test_the_difference_from_what_was_approved_last(gate, monkeypatch, capsys):
    with gate.pending(arrive(gate), TEXT):
        assert "Nothing was approved here before" in command(monkeypatch, capsys, "show", "exp")[1]
        command(monkeypatch, capsys, "approve", "exp", arrive(gate).digest)
    changed = experiment_text(TASKS + "# \\x1b\n", rounds=2)
    submission = arrive(gate, changed, "exp2", "b\x1b[31mob")
    with gate.pending(submission, changed):
        code, said = command(monkeypatch, capsys, "show", "exp2")
    assert code == 0
    first, second, *lines, _ = said.splitlines()
    assert first == r"Experiment exp2 of b\x1b[31mob"
    assert second == f"digest {submission.digest}, {len(changed):,} bytes"
    difference = lines[lines.index("Compared with what was approved here last") + 1 :]
    changes = [line.strip() for line in difference if line.strip().startswith(("+", "-"))]
    assert changes == [r"+# \\x1b", '-  "rounds": 1,', '+  "rounds": 2,']


def test_a_review_shows_the_whole_code_on_one_screen_and_colours_on_a_terminal(gate, tmp_path):
    submission, nothing = arrive(gate), tmp_path / "nothing"
    lines = [line.rstrip() for line in review(submission, TEXT, nothing)]
    for number, line in enumerate(TASKS.splitlines(), start=1):
        assert f"{number:>4}  {line}".rstrip() in lines
    assert "  rounds: 1" in lines
    assert "identical to this node's own" in "".join(lines)
    assert len(lines) < 50
    coloured = list(review(submission, TEXT, nothing, colours=True))
    plain = [re.sub(r"\x1b\[\d+m", "", line).rstrip() for line in coloured]
    assert plain == lines and plain != coloured


def test_nothing_runs_before_the_approval(gate, tmp_path, monkeypatch, capsys, caplog):
    caplog.set_level(logging.INFO)
    trace = tmp_path / "ran"
    trap = f"from pathlib import Path\nPath({str(trace)!r}).touch()\n"
    text = experiment_text(trap + TASKS)
    load_tasks(trap)
    assert trace.exists(), "the trap works"
    trace.unlink()
    submission = arrive(gate, text)
    with gate.pending(submission, text) as approved:
        gate.show(submission)
        command(monkeypatch, capsys, "show", "exp")
        assert not approved()
        files = sorted(path.name for path in gate.store.folder.rglob("*"))
        assert files == ["exp.experiment", "exp.json", "waiting"]
    assert not trace.exists()
    assert "   1  from pathlib import Path" in caplog.text
    assert f"bash review.sh approve exp {submission.digest}" in caplog.text


def test_letters_that_look_like_others_and_the_ends_of_long_lines_are_seen(gate, tmp_path):
    source = "ev\u0430l = 1\ny = r'\\t\t'\nx = 1" + " " * 500 + "; import os\n"
    text = experiment_text(source + TASKS)
    lines = list(review(arrive(gate, text), text, tmp_path / "nothing"))
    assert r"   1! ev\u0430l = 1" in lines
    assert r"   2! y = r'\\t\t'" in lines, "a tab, and a backslash with a t"
    assert max(map(len, lines)) <= 120
    assert any(line.startswith("   +") and line.endswith("; import os") for line in lines)


def test_nothing_of_a_text_is_left_out_and_no_name_looks_like_another(tmp_path):
    def shown(text: bytes) -> str:
        return "\n".join(review(Submission("x", "ann", digest(text)), text, tmp_path / "nothing"))

    settings = json.loads(TEXT)["settings"]
    with pytest.raises(UnsoundExperiment, match="notebook's alone"):
        shown(changed_text(settings={**settings, "runs_dir": "PAYLOAD"}))
    assert "PAYLOAD" in shown(changed_text(model={**MODEL, "PAYLOAD": None}))
    assert "\u0430" not in shown(changed_text(model={**MODEL, "name": "t\u0430ny"}))
    with pytest.raises(UnsoundExperiment, match=r"'open_sh\\u0430rd' is no identifier of Python in ASCII"):
        shown(changed_text(shard="open_sh\u0430rd"))


def test_a_review_fits_a_narrow_terminal(gate, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = experiment_text(tasks=TASKS + "# " + 200 * "x" + "\n")
    lines = list(review(arrive(gate, text), text, tmp_path / "nothing"))
    code = [line for line in lines if re.match(r" *(\d+|\+)[ !]", line)]
    assert max(map(len, code)) == 60


def test_what_another_release_approved_is_no_reason_to_show_nothing(gate, tmp_path):
    before = tmp_path / "last"
    before.write_bytes(b"PK an archive")
    lines = list(review(arrive(gate), TEXT, before))
    assert lines[-1] == "What was approved here last was of another release, and cannot be compared"
