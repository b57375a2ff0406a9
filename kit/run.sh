#!/usr/bin/env bash
# On the target, in the folder of the parts: checks and joins them, installs, and takes the steps (README.md of kit/).
# PYTHON: the image's Python, which has torch.
exec "${PYTHON:-python3}" "$(dirname "$0")/unpack.py" "$@"
