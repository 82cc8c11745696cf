"""The base of everything that the demo reports in a line instead of a traceback."""


class DemoError(RuntimeError):
    """Something that the user can act on; the message says what."""
