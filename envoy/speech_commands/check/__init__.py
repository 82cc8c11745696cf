"""Checks a corpus for damage and leaks between splits: `python -m speech_commands.check`."""
