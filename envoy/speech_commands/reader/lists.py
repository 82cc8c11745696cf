"""The two lists of a training archive, which say what its clips are for."""

from pathlib import Path

from speech_commands.reader.index import index_tree
from superb_node.errors import DataError
from superb_node.labels import list_key, read_lines


def read_list(path: Path, required: bool) -> dict[str, str]:
    """Read `validation_list.txt` or `testing_list.txt`: each line is a path below the archive folder.

    Args:
        path: the list.
        required: whether it is an error if there is no such file.

    Returns:
        the lines as they are written, keyed by `list_key`.

    Raises:
        DataError: the list is missing and required, or not a readable text.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a file")
    try:
        return {list_key(line): line for line in read_lines(path.read_bytes())}
    except FileNotFoundError as error:
        if not required:
            return {}
        inside = sorted(path.parent.glob(f"*/{path.name}")) if path.parent.is_dir() else []
        hint = f"; {inside[0].parent} has one: is that the archive's folder?" if inside else ""
        raise DataError(f"{path}: missing; it names the validation clips{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable UTF-8 text ({error})") from error


def unmatched_lines(root: Path, name: str) -> list[str]:
    """Return the lines of the list `name` of an archive folder for which there is no file."""
    present = {list_key(key) for key in index_tree(root).keys.tolist()}
    lines = read_list(root / name, required=False)
    return [line for key, line in lines.items() if key not in present]
