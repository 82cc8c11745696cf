"""Uploads wait for their turn or for room, and nobody waits for one that left."""

import threading
import weakref
from typing import Any

import numpy as np
import pytest
from openfl.protocols import aggregator_pb2

from superb_ks.aggregator import uploads
from superb_ks.aggregator.limits import StalledStream
from superb_ks.aggregator.membership import Membership
from superb_ks.aggregator.strategies.fedavg import FederatedAverage
from superb_ks.aggregator.uploads import Results, UploadQueue, UploadReplaced
from superb_ks.transport import messages

SIZE = 6


class Side:
    """The aggregator's part in receiving: adds what arrives to the round's average."""

    def __init__(self, names: str) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.members = Membership(names)
        self.told: list[tuple[str, str]] = []
        self.queue = UploadQueue(
            self.changed, SIZE, self.members, FederatedAverage, lambda *said: self.told.append(said)
        )
        self.average = self.queue.start_round(self.members.present)

    def upload(self, name: str, values: float = 1.0, size: int = SIZE, cut: int = 0) -> Results:
        """Receive an upload as the gRPC service does; `cut` messages at its end are lost."""
        head = aggregator_pb2.TaskResults(tensors=[messages.metric_message("loss", 0.5, 0)])
        head.header.sender = name
        first, *sent = messages.upload(head, np.full(size, values, np.float32))
        return self.queue.receive(aggregator_pb2.TaskResults.FromString(first), sent[: len(sent) - cut])

    def take(self, name: str) -> None:
        """Receive and add, as the aggregator does."""
        results = self.upload(name)
        with self.changed:
            self.queue.done_with(name)
            self.average.add(name, 1, results.weights)
            self.changed.notify_all()


def started(work, *arguments) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def test_weights_and_metrics_arrive():
    results = Side("a").upload("a", 3.0)
    assert results.weights.tolist() == [3.0] * SIZE
    assert results.metrics["loss"] == 0.5


def test_another_size_is_refused_without_reading():
    results = Side("a").upload("a", size=SIZE + 1)
    assert results.weights is None
    assert results.refusal == f"sent {SIZE + 1} values, the model has {SIZE}"


def test_a_stream_that_breaks_off_is_damaged_and_frees_its_room():
    side = Side("a")
    with pytest.raises(messages.DamagedUpload, match="0 of the announced 24 bytes"):
        side.upload("a", cut=1)
    assert side.upload("a").weights is not None


@pytest.mark.parametrize("order", ["abcdef", "fedcba", "bdface"])
def test_the_sum_and_one_update_are_in_memory_however_many_send(order: str):
    """Arrays are counted where they are made: two, in whatever order they come."""
    side = Side("abcdef")
    made: list[int] = []
    empty = np.empty

    def making(*args: Any) -> np.ndarray:
        made.append(args[0])
        return empty(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads.np, "empty", making)
        threads = [started(side.take, name) for name in order]
        for thread in threads:
            thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert made == [SIZE, SIZE]
    assert side.average.result().tolist() == [1.0] * SIZE


def test_who_is_away_delivers_metrics_only():
    side = Side("ab")
    side.members.leave("b")
    assert side.upload("b").weights is None


def test_all_orders_end_with_everybody_averaged():
    side = Side("abcdef")
    threads = [started(side.take, name) for name in "fedcba"]
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert side.average.result().tolist() == [1.0] * SIZE


def test_who_waits_for_room_may_send_when_the_one_whose_turn_it_is_has_left():
    """`b` comes before its turn, `c` and `d` wait; `a` is dead. Once it is left out all goes on."""
    side = Side("abcd")
    side.take("b")
    early = started(side.take, "c")
    waiting = started(side.take, "d")
    waiting.join(0.2)
    assert early.is_alive() and waiting.is_alive(), "more than two models in memory"
    with side.changed:
        side.average.skip("a")
        side.changed.notify_all()
    waiting.join(10)
    assert not waiting.is_alive()
    assert side.average.result().tolist() == [1.0] * SIZE


def test_who_waits_is_let_go_when_the_round_ends():
    side = Side("abcd")
    side.take("b")
    results = []
    waiting = started(lambda: results.append(side.upload("d")))
    with side.changed:
        side.queue.start_round([])
        side.changed.notify_all()
    waiting.join(10)
    assert results[0].refusal == "came too late"


def test_a_queue_that_is_closed_keeps_no_array_and_nobody_waiting():
    side = Side("abcd")
    side.take("b")
    results = []
    waiting = started(lambda: results.append(side.upload("d")))
    spare, late = np.empty(SIZE, np.float32), np.empty(SIZE, np.float32)
    arrays = [weakref.ref(spare), weakref.ref(late)]
    side.queue.recycle(spare)
    del spare
    assert arrays[0]() is not None
    side.queue.close()
    side.queue.recycle(late)
    del late
    assert [array() for array in arrays] == [None, None]
    waiting.join(10)
    assert results[0].refusal == "came too late"


def test_a_stalled_upload_frees_its_room_and_is_told():
    side = Side("ab")

    def stalls():
        yield memoryview(bytes(4))
        raise StalledStream("sent less than a part in 45 s of waiting")

    with pytest.raises(StalledStream):
        side.queue.receive(head_of("a"), stalls())
    assert side.told == [("a", "its upload sent less than a part in 45 s of waiting")]
    assert side.queue.under_way == set()


def test_one_upload_of_a_name_is_received_and_the_latest_waits():
    """However many one collaborator begins, one vector is made for it."""
    side = Side("ab")
    go_on = threading.Event()

    def slowly():
        go_on.wait(10)
        yield np.ones(SIZE, np.float32).tobytes()

    first = started(side.queue.receive, head_of("a"), slowly())
    first.join(0.2)
    replaced = []

    def again():
        try:
            side.upload("a")
        except UploadReplaced as error:
            replaced.append(str(error))

    later = [started(again) for _ in range(5)]
    for thread in later:
        thread.join(0.1)
    for thread in later[:-1]:
        thread.join(10)
    assert replaced == ["a began another upload"] * 4
    assert first.is_alive() and sum(thread.is_alive() for thread in later) == 1
    assert side.queue._receiving == {"a"}
    go_on.set()
    first.join(10)
    with side.changed:
        side.queue.start_round([])
        side.changed.notify_all()
    for thread in later:
        thread.join(10)
    assert not any(thread.is_alive() for thread in later)


def head_of(name: str) -> aggregator_pb2.TaskResults:
    head = aggregator_pb2.TaskResults()
    head.header.sender = name
    first = next(iter(messages.upload(head, np.zeros(SIZE, np.float32))))
    return aggregator_pb2.TaskResults.FromString(first)
