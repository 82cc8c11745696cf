"""Writes a notebook's tasks as one Python module: what the envoys run, and all that their owners read.

The module holds the functions as they stand in the cells, and whatever else of the notebook they use: further
functions and classes, imports, and constants of plain values.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from superb_ks.collaborator.tasks import load_tasks
from superb_ks.settings import Settings
from superb_notebook.source_code import NoSource, free_names, import_line, scope_of, source_of

_HEAD = '"""The tasks of this experiment, as they stand in the notebook that submitted it."""\n'


class CannotTravel(ValueError):
    """A task uses what cannot be written as text; the message names it, and says what to do."""


def write_tasks(functions: Sequence[Callable[..., Any]]) -> str:
    """Return the source of a module that defines `functions`.

    Raises:
        CannotTravel: one of them uses what cannot be written as text.
    """
    writer = _Writer()
    for function in functions:
        writer.add(function.__name__, function, used_by="the experiment")
    source = writer.module()
    try:
        load_tasks(source)
    except Exception as error:
        raise CannotTravel(
            f"the tasks do not work by themselves: {type(error).__name__}: {error}. It is\n{source}"
        ) from error
    return source


class _Writer:
    """Collects what a module needs, each name once; what something is made of comes before it."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._imports: list[str] = []
        self._blocks: list[tuple[str, bool]] = []  # each with whether it is an assignment

    def module(self) -> str:
        """Return the module's source."""
        text = "\n".join([_HEAD, "from __future__ import annotations\n", *_sorted_imports(self._imports)])
        was_line = False
        for block, is_line in self._blocks:
            text += ("\n" if was_line and is_line else "\n\n\n") + block
            was_line = is_line
        return text + "\n"

    def add(self, name: str, value: Any, used_by: str) -> None:
        """Define `name`, which `used_by` refers to, as `value`."""
        if name in self._values:
            known = self._values[name]
            if known is not value and not (type(known) is type(value) and known == value):
                raise CannotTravel(
                    f"{used_by} uses another {name!r} than a task before it; rename one of them"
                )
            return
        self._values[name] = value
        if line := import_line(name, value):
            self._imports.append(line)
        elif isinstance(value, ModuleType):
            raise CannotTravel(
                f"{used_by} uses the module {value.__name__}, which the envoys do not have; "
                "import from it what the task needs"
            )
        elif isinstance(value, type) or hasattr(value, "__code__"):
            self._define(name, value)
        else:
            self._assign(name, value, used_by)

    def _define(self, name: str, value: Any) -> None:
        try:
            source = source_of(value)
        except NoSource as error:
            raise CannotTravel(f"{name} cannot be written as text: {error}") from error
        scope = scope_of(value)
        for used in free_names(source):
            if used in scope:
                self.add(used, scope[used], used_by=value.__name__)
            else:
                raise CannotTravel(f"{value.__name__} uses {used!r}, which is not defined")
        self._blocks.append((source, False))
        if name != value.__name__:
            self._blocks.append((f"{name} = {value.__name__}", True))

    def _assign(self, name: str, value: Any, used_by: str) -> None:
        text = _literal(value)
        if text is None and _is_record(value):
            value = value.for_nodes() if isinstance(value, Settings) else value
            text = self._record(value, used_by)
        if text is None:
            raise CannotTravel(
                f"{used_by} uses {name!r}, a {type(value).__name__}, which cannot be written as text; "
                "legal: functions, classes, imports, and constants of numbers, text, lists and dictionaries. "
                "Make it inside the task"
            )
        self._blocks.append((f"{name} = {text}", True))

    def _record(self, value: Any, used_by: str) -> str | None:
        """Return a frozen dataclass as a call that makes it, without what is as by default."""
        self.add(type(value).__name__, type(value), used_by)
        lines = []
        for item in dataclasses.fields(value):
            inner = getattr(value, item.name)
            if _is_default(item, inner):
                continue
            text = self._record(inner, used_by) if _is_record(inner) else _literal(inner)
            if text is None:
                return None
            lines.append(f"{item.name}={text},")
        if not lines:
            return f"{type(value).__name__}()"
        return f"{type(value).__name__}(\n" + textwrap.indent("\n".join(lines), "    ") + "\n)"


def _sorted_imports(lines: list[str]) -> list[str]:
    """Return import lines in the usual order, one for each module that names are imported from."""
    plain = sorted(line for line in lines if line.startswith("import"))
    names: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("from"):
            module, _, name = line.partition(" import ")
            names.setdefault(module, []).append(name)
    return plain + [f"{module} import {', '.join(sorted(names[module]))}" for module in sorted(names)]


def _is_default(item: dataclasses.Field[Any], value: Any) -> bool:
    if item.default_factory is not dataclasses.MISSING:
        return bool(item.default_factory() == value)
    return item.default is not dataclasses.MISSING and item.default == value


def _is_record(value: Any) -> bool:
    return (
        dataclasses.is_dataclass(value)
        and not isinstance(value, type)
        and bool(value.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    )


def _literal(value: Any) -> str | None:
    """Return plain values as text that Python reads back as the same; None of others."""
    if value is None or type(value) in (bool, int, str, bytes):
        return repr(value)
    if type(value) is float:
        return repr(value) if math.isfinite(value) else None
    if type(value) in (list, tuple, set, frozenset, dict):
        return _container(value)
    return None


def _container(value: Any) -> str | None:
    if isinstance(value, Mapping):
        pairs = [(_literal(key), _literal(inner)) for key, inner in value.items()]
        if any(None in pair for pair in pairs):
            return None
        return "{" + ", ".join(f"{key}: {inner}" for key, inner in pairs) + "}"
    parts = [_literal(each) for each in value]
    if None in parts:
        return None
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}([{', '.join(sorted(map(str, parts)))}])"
    text = ", ".join(map(str, parts))
    if isinstance(value, list):
        return f"[{text}]"
    return f"({text},)" if len(parts) == 1 else f"({text})"


def task_functions(task_keeper: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions that were registered with OpenFL's `TaskInterface`, by name, the newest of each.

    Raises:
        CannotTravel: one has settings of `add_kwargs`.
    """
    for name, settings in task_keeper.task_settings.items():
        if settings:
            raise CannotTravel(
                f"{name} has add_kwargs({', '.join(settings)}); set the values in the task itself"
            )
    # OpenFL keeps a wrapper of each, around the function itself.
    return {name: _wrapped(wrapper) for name, wrapper in task_keeper.task_registry.items()}


def _wrapped(wrapper: Callable[..., Any]) -> Callable[..., Any]:
    cells = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or (), strict=True))
    return cells["training_method"].cell_contents if "training_method" in cells else wrapper


def task_arguments(task_keeper: Any) -> dict[str, dict[str, str]]:
    """Return under which names the functions take model, data, device, optimizer and round, by function."""
    return {
        name: {entity: argument for entity, argument in contract.items() if argument is not None}
        for name, contract in task_keeper.task_contract.items()
    }
