"""The one exception whose message is meant for the person who runs the workflow."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: the message names the file, the key and the remedy.

    Raised for bad configuration and bad input. Everything else that is raised is a defect of ours and
    keeps its traceback.
    """
