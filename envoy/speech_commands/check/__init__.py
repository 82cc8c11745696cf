"""Tells whether a corpus can be trusted: `python -m speech_commands.check`."""
