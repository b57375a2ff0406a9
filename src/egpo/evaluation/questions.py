"""The questions of a benchmark, as evalscope reads them: what the training data must not hold."""

from __future__ import annotations

import json
from pathlib import Path

from egpo.common.files import write_text
from egpo.config.benchmarks import Benchmark
from egpo.evaluation.trial import read_samples


def write_questions(name: str, benchmark: Benchmark, folder: Path | None, file: Path) -> int:
    """Write the text of every question, without template and worked examples, as one JSON string a line.

    folder: local data of the benchmark, if it has some; evalscope fetches it otherwise. Returns how many there are.
    Raises UserError when evalscope cannot read them, or when they are not as many as the configuration says.
    """
    samples = read_samples(name, benchmark, folder, prompts=False)
    texts = [str(sample.input) for subset in samples.values() for sample in subset]
    write_text(file, "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts))
    return len(texts)
