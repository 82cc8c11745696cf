"""Drills of starting, stopping and cleaning up."""

from __future__ import annotations

import signal
from pathlib import Path

from superb_node.work_folder import MARKER
from tests.drills.drill import drill
from tests.support.lab import Lab, at, follow
from tests.support.sine_experiment import Script

STOP_SECONDS = 5
# What a shell shows as 130 and 143.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@drill("Ctrl-C and SIGTERM, idle")
def stopped_idle(lab: Lab) -> str:
    """Director and envoy end within seconds by the signal, with their work folders swept."""
    slowest = 0.0
    for signum in SIGNALS:
        for name in (lab.last, "director"):
            slowest = max(slowest, stops_cleanly(lab, name, signum))
        lab.heal()
    return f"all four ended by the signal, the slowest after {slowest:.1f} s, work folders swept"


@drill("Ctrl-C and SIGTERM in a round")
def stopped_in_a_round(lab: Lab) -> str:
    """The same while they are at work; the others are told at once."""
    slowest = 0.0
    for signum in SIGNALS:
        # The envoy sleeps in its task when the signal comes.
        script = Script(seconds={lab.ranks[-1]: 30.0})
        seconds: list[float] = []
        stop = (
            at(0, lab.first, "train"),
            lambda n=signum, s=seconds: s.append(stops_cleanly(lab, lab.last, n)),
        )
        outcome = lab.run(script, stop, rounds=2)
        assert outcome.status == "finished", outcome.error
        assert "stopped by its owner" in outcome.text("dropped"), outcome.records
        lab.heal()

        experiment = lab.submit(Script(seconds={lab.ranks[-1]: 3.0}), rounds=20)
        stop = (
            at(0, lab.first, "train"),
            lambda n=signum, s=seconds: s.append(stops_cleanly(lab, "director", n)),
        )
        outcome = follow(experiment, stop)
        assert "the director was stopped" in outcome.text("failure") or outcome.error, outcome.records
        lab.heal()
        assert experiment.status() in ("stopped", "interrupted"), experiment.status()
        slowest = max(slowest, *seconds)
    return f"all four ended by the signal, the slowest after {slowest:.1f} s; the notebook was told"


def stops_cleanly(lab: Lab, name: str, signum: int) -> float:
    """Stop a service; returns after how many seconds it had ended."""
    code, seconds = lab.stop_service(name, signum)
    assert code in (-signum, 128 + signum), f"{name} ended with {code}"
    assert seconds < STOP_SECONDS, f"{name} took {seconds:.1f} s"
    assert lab.work_left(name) == [], lab.work_left(name)
    return seconds


@drill("remains of a crash")
def crash_remains(lab: Lab) -> str:
    """They are swept at the next start, and only what carries our marker."""
    director, envoy = work_folders(lab)
    script = Script(seconds={lab.ranks[-1]: 2.0})

    def kill_both() -> None:
        lab.kill(lab.last)
        lab.kill("director")

    follow(lab.submit(script, rounds=2), (at(0, lab.first, "train"), kill_both))
    remains = next(envoy.glob("*drill*"))
    assert (director / MARKER).is_file()  # a director has no folder for each experiment
    foreign = [folder.parent / "not_ours" for folder in (director, envoy)]
    for folder in foreign:
        folder.mkdir(exist_ok=True)
        (folder / "thesis.txt").write_text("years of work", encoding="utf-8")
    lab.heal()
    assert not remains.exists(), remains
    assert all((folder / "thesis.txt").exists() for folder in foreign)
    return "the envoy's experiment folder swept; folders without the marker stayed"


@drill("work folder that is not ours")
def foreign_folder(lab: Lab) -> str:
    """A folder where ours should be, without our marker, is left alone: the service says so and ends."""
    for name, folder in zip(("director", lab.last), work_folders(lab), strict=True):
        lab.stop_service(name)
        folder.mkdir(parents=True)
        (folder / "thesis.txt").write_text("years of work", encoding="utf-8")
        lab.restart(name)
        process = lab.processes[name]
        _, _ = lab.stop_service(name, 0)
        assert process.exit_code() == 2, process.log_tail()
        assert str(folder.name) in process.log_tail(1), process.log_tail()
        assert (folder / "thesis.txt").exists()
        (folder / "thesis.txt").unlink()
        folder.rmdir()
        lab.heal()
    return "director and envoy ended with one line and touched nothing"


def work_folders(lab: Lab) -> tuple[Path, Path]:
    """Return the work folders of the director and of the last envoy."""
    return (
        lab.nodes_dir / "director" / "work" / str(lab.director_port),
        lab.nodes_dir / lab.last / "work" / lab.last,
    )
