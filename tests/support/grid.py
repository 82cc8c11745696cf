"""Flower's nodes as the app's server knows them, without any process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flwr.app import Error, Message, RecordDict


class Nodes:
    """What the server needs of a grid.

    Args:
        answers: of some nodes, by their numbers; the others do not answer.
        takes: how many questions it takes; None: all.
    """

    def __init__(self, answers: Mapping[int, Error | RecordDict], takes: int | None = None) -> None:
        self._answers, self._takes = answers, takes
        self._asked: dict[str, Message] = {}

    def get_node_ids(self) -> list[int]:
        return list(self._answers)

    def push_messages(self, questions: Iterable[Message]) -> list[str]:
        self._asked = {}
        for each in questions:
            number = f"question {each.metadata.dst_node_id}"
            each.metadata.__dict__["_message_id"] = number
            self._asked[number] = each
        return list(self._asked)[: self._takes]

    def pull_messages(self, numbers: Iterable[str]) -> list[Message]:
        answers = [self.answer(self._asked[number]) for number in numbers]
        return [each for each in answers if each is not None]

    def answer(self, asked: Message) -> Message | None:
        """Return the answer to a question; None: there is none yet."""
        content = self._answers.get(asked.metadata.dst_node_id)
        if content is None:
            return None
        answer = Message(content, reply_to=asked)
        answer.metadata.__dict__["_src_node_id"] = 0  # as the SuperLink answers for a lost node
        return answer
