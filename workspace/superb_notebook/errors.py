"""What is wrong with a file."""


class DataError(ValueError):
    """Something about the data or its settings is wrong; the message names it and the legal values.

    The message is one printable line even where a file name in it is neither.
    """

    def __init__(self, message: str) -> None:
        """Keep the message, with what cannot be printed escaped."""
        line = message.replace("\r", "\\r").replace("\n", "\\n")
        super().__init__(line.encode("utf-8", "backslashreplace").decode("utf-8"))
