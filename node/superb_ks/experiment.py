"""What travels of an experiment: one JSON text with its settings, its model's specification and its tasks.

The tasks are Python source, and the only code in it. Everything else that runs is the node's own package.
Imports no PyTorch: the director reads experiments, too.
"""

from __future__ import annotations

import functools
import hashlib
import json
import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from superb_ks import __version__
from superb_ks.settings import NOTEBOOKS_OWN, Settings

MAX_BYTES = 2**20
"""Of an experiment. The tutorial's has about 3,000; what is larger than this has caught data."""

MAX_MODEL_SIZE = 2**30
"""Float32 values of a model: 4 GiB, four times wav2vec2-xls-r-300m."""

FUNCTIONS = ("train", "validate", "test")
"""What the tasks define, by the names under which the notebook registers it."""

_ARGUMENTS = ("model", "data_loader", "device", "optimizer", "round_num")
_Kind = TypeVar("_Kind")


@functools.cache
def own_package() -> dict[str, str]:
    """Return version and digest of this process's `superb_ks`: of its sources and the tiny model.

    They are those of the disk when this module is imported: what changes later is not what runs here.
    """
    folder = Path(__file__).resolve().parent
    files = sorted(
        (path.relative_to(folder).as_posix(), path)
        for pattern in ("**/*.py", "tiny/*")
        for path in folder.glob(pattern)
    )
    total = hashlib.sha256()
    for name, path in files:
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return {"version": __version__, "digest": total.hexdigest()}


own_package()


class UnsoundExperiment(ValueError):
    """A text that is no experiment; the message says what is wrong with it."""


@dataclass(frozen=True)
class Experiment:
    """One experiment, as author, director and envoys know it.

    Attributes:
        settings: without what concerns the notebook alone (`Settings.for_nodes`).
        model: the specification, as `ModelSpec.to_dict` returns it, or the name of the function in `tasks`
            that builds the model.
        tasks: source of the Python module that defines `train`, `validate` and `test`.
        arguments: by function, under which name it takes `model`, `data_loader`, `device`, `optimizer` and
            `round_num`; what it does not take is missing.
        shard: the name of the function in `tasks` that opens a shard; None: every split is a `ClipDataset`.
        package: version and digest of the `superb_ks` that it was written for.
    """

    settings: Settings
    model: Mapping[str, Any] | str
    tasks: str
    arguments: Mapping[str, Mapping[str, str]]
    shard: str | None = None
    package: Mapping[str, str] = field(default_factory=lambda: {**own_package()})

    def to_bytes(self) -> bytes:
        """Return the text that travels, in UTF-8.

        Raises:
            UnsoundExperiment: it is too large.
        """
        text = json.dumps(self._as_json(), indent=1, ensure_ascii=False).encode()
        _require_small(len(text))
        return text

    def _as_json(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**own, "settings": self.settings.for_nodes().to_dict()}

    @classmethod
    def read(cls, text: bytes) -> Experiment:
        """Read what `to_bytes` wrote; nothing of it is run.

        Raises:
            UnsoundExperiment: it is none.
        """
        _require_small(len(text))
        try:
            values = json.loads(
                text.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant
            )
        except (ValueError, RecursionError) as error:
            raise UnsoundExperiment(f"the experiment is not JSON: {str(error)[:200]}") from error
        return cls._checked(values)

    @classmethod
    def _checked(cls, values: Any) -> Experiment:
        known = set(cls.__dataclass_fields__)
        if not isinstance(values, dict) or set(values) != known:
            raise UnsoundExperiment(f"an experiment has the fields {', '.join(sorted(known))}, and no others")
        try:
            settings = Settings.from_dict(_require_kind(values["settings"], dict, "settings"))
        except (ValueError, TypeError, AttributeError) as error:
            raise UnsoundExperiment(f"the experiment's settings: {str(error)[:500]}") from error
        if settings != settings.for_nodes():
            own = ", ".join(NOTEBOOKS_OWN)
            raise UnsoundExperiment(f"the experiment's settings hold what is the notebook's alone: {own}")
        tasks = _require_kind(values["tasks"], str, "tasks")
        _require_readable(tasks)
        model = (
            values["model"] if isinstance(values["model"], dict) else _identifier(values["model"], "model")
        )
        shard = None if values["shard"] is None else _identifier(values["shard"], "shard")
        package = _require_kind(values["package"], dict, "package")
        if set(package) != {"version", "digest"} or not all(
            isinstance(each, str) for each in package.values()
        ):
            raise UnsoundExperiment("the experiment's package has a version and a digest, and no more")
        return cls(settings, model, tasks, _arguments(values["arguments"]), shard, package)

    def fault_of_package(self) -> str:
        """Return why this node's `superb_ks` cannot run the experiment, in words; empty if it can."""
        own = own_package()
        if self.package == own:
            return ""
        author, here = (f"{each['version']} ({each['digest'][:12]})" for each in (self.package, own))
        return (
            f"it was written for another package superb_ks, {author[:60]!r}, than the one here, {here}: "
            "author, director and envoys need the same release of this project; restart them after an update"
        )


def digest(text: bytes) -> str:
    """Return the digest by which owners know an experiment: SHA-256 of its text."""
    return hashlib.sha256(text).hexdigest()


def _require_small(size: int) -> None:
    if size > MAX_BYTES:
        raise UnsoundExperiment(
            f"the experiment has {size:,} bytes, and {MAX_BYTES:,} are legal; does a task hold data?"
        )


def _require_readable(source: str) -> None:
    """Make sure that what a review shows of a source is what Python reads: no bells, no turned directions."""
    hidden = next((char for char in source if not char.isprintable() and char not in "\n\t"), None)
    if hidden is not None:
        raise UnsoundExperiment(f"the experiment's tasks hold the control character {hidden!r}")


def _arguments(values: Any) -> dict[str, dict[str, str]]:
    functions = _require_kind(values, dict, "arguments")
    if set(functions) != set(FUNCTIONS):
        raise UnsoundExperiment(f"an experiment has the tasks {', '.join(FUNCTIONS)}, not {list(functions)}")
    return {
        task: {
            _known_argument(entity): _identifier(name, task)
            for entity, name in _require_kind(names, dict, f"arguments of {task}").items()
        }
        for task, names in functions.items()
    }


def _known_argument(entity: str) -> str:
    if entity not in _ARGUMENTS:
        raise UnsoundExperiment(f"a task takes {', '.join(_ARGUMENTS)}, not {entity[:60]!r}")
    return entity


def _require_kind(value: Any, kind: type[_Kind], what: str) -> _Kind:
    if not isinstance(value, kind):
        raise UnsoundExperiment(f"the experiment's {what} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def _identifier(value: Any, what: str) -> str:
    # Beyond ASCII are letters that look like others.
    if (
        not isinstance(value, str)
        or not (value.isascii() and value.isidentifier())
        or keyword.iskeyword(value)
    ):
        raise UnsoundExperiment(
            f"{what} of the experiment: {ascii(str(value))[:60]} is no identifier of Python in ASCII"
        )
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")
