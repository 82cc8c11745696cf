"""The one exception of the data room."""


class DataError(ValueError):
    """Something about the data or its settings is wrong; the message names it and the legal values."""


def require_one_of(name: str, value: object, legal: tuple[str, ...]) -> None:
    """Check a setting that takes one of a few words.

    Raises:
        DataError: `value` is none of `legal`.

    """
    if value not in legal:
        raise DataError(f"{name} is {value!r}; legal values: {', '.join(legal)}")
