"""The one exception that the data code raises, and a check that raises it."""


class DataError(ValueError):
    """Something about the data or its settings is wrong; the message names it and the legal values.

    The message is one printable line, even if it quotes a file name that is neither.
    """

    def __init__(self, message: str) -> None:
        """Keep the message, with what cannot be printed escaped."""
        line = message.replace("\r", "\\r").replace("\n", "\\n")
        super().__init__(line.encode("utf-8", "backslashreplace").decode("utf-8"))


def require_one_of(name: str, value: object, legal: tuple[str, ...]) -> None:
    """Check a setting that takes one of a few words.

    Raises:
        DataError: `value` is not in `legal`.
    """
    if value not in legal:
        raise DataError(f"{name} is {value!r}; legal values: {', '.join(legal)}")


def bad_clips_error(problems: list[str]) -> DataError:
    """Return the error that names the first unusable clip and counts the others."""
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return DataError(f"{problems[0]}{more}; on_bad_clip: skip leaves such clips out")
