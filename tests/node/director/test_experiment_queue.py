"""Whose turn it is, and behind whom the others wait."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from superb_node.director.experiment_queue import ExperimentQueue
from superb_node.director.experiment_runner import ExperimentRunner
from superb_node.director.experiment_store import ExperimentStore


def experiment(folder: Path, name: str, envoys: str, author: str = "ann") -> ExperimentRunner:
    """Return an experiment that is submitted; each envoy has a letter for a name."""
    return ExperimentRunner(
        experiments=ExperimentStore(folder),
        listen_host="unix",
        invite=lambda envoy_name: None,
        clip_limits={},
        name=name,
        text=b"",
        aggregator_port=50051,
        collaborators=list(envoys),
        users=[author],
        sender=author,
    )


def started(folder: Path, at_once: int, *envoys: str) -> list[str]:
    """Submit an experiment for each group of envoys; return which run, from 0, as soon as one has ended."""

    async def start() -> list[str]:
        queue = ExperimentQueue(at_once)
        for number, group in enumerate(envoys):
            queue.add(experiment(folder, f"e{number}", group))
        seen = []

        async def serve() -> None:
            while True:
                async with queue.next_experiment() as runs:
                    seen.append(runs.name)
                    await turn.wait()
                    if runs.name != "e0":
                        await asyncio.sleep(3600)

        turn = asyncio.Event()
        services = [asyncio.create_task(serve()) for _ in range(at_once)]
        await asyncio.sleep(0.01)
        seen.append("then")
        turn.set()
        await asyncio.sleep(0.01)
        for service in services:
            service.cancel()
        return seen

    return asyncio.run(start())


@pytest.mark.parametrize(
    ("at_once", "envoys", "order"),
    [
        (1, ["a", "b", "c"], "e0 then e1"),
        (2, ["a", "b", "c"], "e0 e1 then e2"),
        (2, ["a", "a", "b"], "e0 e2 then e1"),
        (3, ["a", "ab", "b"], "e0 then e1"),  # the third would make the second wait
        (3, ["ab", "bc", "cd", "d"], "e0 then e1"),
        (3, ["ab", "bc", "d", "cd"], "e0 e2 then e1"),
        (4, ["a", "b", "c", "d"], "e0 e1 e2 e3 then"),
    ],
)
def test_the_next_is_the_first_that_makes_no_earlier_one_wait(tmp_path, at_once, envoys, order):
    assert " ".join(started(tmp_path, at_once, *envoys)) == order


def test_behind_whom_one_waits(tmp_path):
    async def told(at_once: int, runs: int) -> dict[str, str]:
        queue = ExperimentQueue(at_once)
        groups = {"one": "a", "two": "b", "three": "a", "four": "c", "five": "ac"}
        for name, envoys in groups.items():
            queue.add(experiment(tmp_path, name, envoys, "bob" if name == "two" else "ann"))
        async with AsyncExitStack() as stack:
            for _ in range(runs):
                await stack.enter_async_context(queue.next_experiment())
            return {name: queue.waits_behind(name) for name in (*groups, "unknown")}

    one = asyncio.run(told(at_once=1, runs=1))
    assert one["one"] == one["unknown"] == ""
    assert one["two"] == "experiment one of 'ann' (begins)"
    assert one["three"].startswith("experiment one (begins) and experiment two of 'bob' (waits, too)")
    assert one["five"].endswith(", experiment three (waits, too) and 1 more")
    two = asyncio.run(told(at_once=3, runs=3))
    assert [name for name, words in two.items() if words] == ["three", "five"], "one, two and four run"
    full = asyncio.run(told(at_once=2, runs=2))
    assert full["four"] == "experiment one (begins) and experiment two of 'bob' (begins)", (
        "they have the ports"
    )
    assert full["five"].endswith(", experiment three (waits, too) and 1 more")
    two = asyncio.run(told(at_once=4, runs=3))
    assert two["three"] == "experiment one (begins)", "they share an envoy"
    assert two["five"].count("experiment") == 3


def test_what_is_stopped_while_it_waits_lets_others_run(tmp_path):
    async def overtake() -> str:
        queue = ExperimentQueue(2)
        for name, envoys in {"one": "a", "two": "ab", "three": "b"}.items():
            queue.add(experiment(tmp_path, name, envoys))

        async def next_name() -> str:
            async with queue.next_experiment() as runs:
                return runs.name

        async with queue.next_experiment():
            following = asyncio.create_task(next_name())
            await asyncio.sleep(0.01)
            assert not following.done()
            queue.remove("two")
            return await asyncio.wait_for(following, 5)

    assert asyncio.run(overtake()) == "three"
