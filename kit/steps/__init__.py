"""The kit's steps, one process each: `python -m kit.steps.NAME`, started by kit.run."""
