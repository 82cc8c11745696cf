"""What Python knows of a function's or a class's source: its text, the names it uses, where it comes from."""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import symtable
import sys
import sysconfig
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

# Of OpenFL's TaskInterface; an envoy has no notebook to register with.
_REGISTERS = ("register_fl_task", "add_kwargs", "set_aggregation_function")
_ON_NODES = ("superb_ks", "superb_node")
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib"))


class NoSource(ValueError):
    """There is no source to be had; the message says why."""


def source_of(value: Any) -> str:
    """Return the text of a function or a class, without decorators that register it as a task.

    Raises:
        NoSource: it is a lambda, or was entered where Python keeps no source.
    """
    if getattr(value, "__name__", "<lambda>") == "<lambda>":
        raise NoSource("a lambda has no name to be found by; write it with def")
    try:
        code = getattr(inspect.unwrap(value), "__code__", None)
        if code and code.co_filename == "<string>":
            raise OSError  # of exec() or `python -c`: since 3.13 `inspect` takes the second's lines for both
        text = _class_of_a_cell(value) or inspect.getsource(value)
    except (OSError, TypeError) as error:
        raise NoSource(
            "Python has no source of it; define it in a cell of a notebook or in a file, not at a prompt"
        ) from error
    lines = textwrap.dedent(text).rstrip().split("\n")
    try:
        node = ast.parse("\n".join(lines)).body[0]
    except SyntaxError as error:
        raise NoSource(f"its source cannot be read by itself ({error.msg}); write it with def") from error
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        raise NoSource("it is neither a function nor a class; write it with def")
    for decorator in reversed(node.decorator_list):
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Attribute) and called.attr in _REGISTERS:
            del lines[decorator.lineno - 1 : decorator.end_lineno]
    return "\n".join(lines)


def _class_of_a_cell(value: Any) -> str | None:
    """Return the newest source of a class of the notebook's own; before 3.13 `inspect` looks for a file."""
    main = sys.modules["__main__"]
    if not isinstance(value, type) or value.__module__ != "__main__" or hasattr(main, "__file__"):
        return None
    for cell in reversed(getattr(main, "In", [])):
        try:
            body = ast.parse(cell).body
        except SyntaxError:  # a cell with a magic command
            continue
        for node in reversed(body):
            if isinstance(node, ast.ClassDef) and node.name == value.__name__:
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                return "\n".join(cell.split("\n")[first - 1 : node.end_lineno])
    return None


def free_names(source: str) -> list[str]:
    """Return what a definition refers to and does not define, without annotations and builtins."""
    tree = _WithoutAnnotations().visit(ast.parse(source))
    top = symtable.symtable(ast.unparse(ast.fix_missing_locations(tree)), "<source>", "exec")
    defined = {each.get_name() for each in top.get_symbols() if each.is_assigned() or each.is_imported()}
    used = {each.get_name() for each in top.get_symbols() if each.is_referenced()}
    used |= {each.get_name() for table in _below(top) for each in table.get_symbols() if each.is_global()}
    return sorted(name for name in used - defined if not hasattr(builtins, name) and name != "__class__")


def _below(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _below(child)


class _WithoutAnnotations(ast.NodeTransformer):
    """Takes annotations away: the module that is written does not evaluate them."""

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        self.generic_visit(node)
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _function  # noqa: N815

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return ast.Pass()
        return ast.Assign([node.target], node.value)


def scope_of(value: Any) -> Mapping[str, Any]:
    """Return what names mean inside a function or a class."""
    functions = [value] if hasattr(value, "__code__") else [*map(_function, vars(value).values())]
    scope = {**vars(sys.modules[value.__module__])}
    for function in filter(None, functions):
        if function is value:
            scope.update(function.__globals__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # the variable has no value (yet)
                scope[name] = cell.cell_contents
    return scope


def _function(member: Any) -> Any:
    inner = getattr(member, "__func__", getattr(member, "fget", member))  # of class methods and properties
    return inner if hasattr(inner, "__code__") else None


def import_line(name: str, value: Any) -> str:
    """Return the line that imports `value` as `name` on a node; empty if nodes do not have it."""
    if isinstance(value, ModuleType):
        if not _is_on_nodes(value):
            return ""
        package, _, last = value.__name__.rpartition(".")
        if name == value.__name__:
            return f"import {name}"
        return f"from {package} import {name}" if last == name else f"import {value.__name__} as {name}"
    home, own = getattr(value, "__module__", None), getattr(value, "__name__", "")
    if not isinstance(home, str) or not isinstance(own, str) or keyword.iskeyword(own):
        return ""
    parts = home.split(".")
    # The shortest way: torch.nn.Linear is at home in torch.nn.modules.linear.
    for count in range(1, len(parts) + 1):
        module = sys.modules.get(".".join(parts[:count]))
        if module is not None and _is_on_nodes(module) and getattr(module, own, None) is value:
            return f"from {module.__name__} import {own}" + (f" as {name}" if name != own else "")
    return ""


def _is_on_nodes(module: ModuleType) -> bool:
    """Tell whether a module belongs to Python, to what is installed, or to the node's packages."""
    top = module.__name__.partition(".")[0]
    if top == "__main__":
        return False
    if top in _ON_NODES or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and any(Path(file).resolve().is_relative_to(folder) for folder in _INSTALLED)
