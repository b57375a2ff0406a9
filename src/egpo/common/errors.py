"""The exception whose message is for the person who runs the workflow."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can fix: the message names the file, the key and the remedy.

    Raised for wrong configuration and input. Every other exception is a bug, and keeps its traceback.
    """
