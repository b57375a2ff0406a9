"""The questions of a benchmark, as evalscope reads them: the training data must not contain them."""

from __future__ import annotations

import json
from pathlib import Path

from egpo.common.files import write_text
from egpo.config.benchmarks import Benchmark
from egpo.evaluation.harness import read_samples


def write_questions(name: str, benchmark: Benchmark, folder: Path, file: Path) -> int:
    """Write the bare text of every question, without template and examples, as one JSON string per line.

    Args:
        folder: the data of the benchmark.

    Returns:
        The number of questions.

    Raises:
        UserError: evalscope cannot read the data, or their number is not that of the configuration.
    """
    samples = read_samples(name, benchmark, folder, prompts=False)
    texts = [str(sample.input) for subset in samples.values() for sample in subset]
    write_text(file, "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts))
    return len(texts)
