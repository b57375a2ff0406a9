#!/usr/bin/env bash
# On the target, in the folder of the parts: checks and joins them, installs, and runs the steps (kit/README.md).
# PYTHON: the image's Python, which has torch.
exec "${PYTHON:-python3}" "$(dirname "$0")/unpack.py" "$@"
