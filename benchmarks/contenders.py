"""The ways to find near-duplicates that `benchmarks/near_duplicates.py` compares, each run in a separate process.

    python benchmarks/contenders.py NAME TEXTS CLUSTERS

TEXTS: a parquet file with a column `text` of lower-case words with one blank between them, so that every contender
sees the same tokens. CLUSTERS: where the cluster of each text goes, as an array of numbers. Prints the CPU-seconds of
the search alone, without imports and the reading of TEXTS, as JSON; text-dedup and datatrove work from files, so that
theirs are the whole command. Prints the peak of the process's memory as well.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

PERMUTATIONS, THRESHOLD, SHINGLE, BANDS = 128, 0.8, 5, 16


def read(file: Path) -> list[str]:
    return pq.read_table(file, columns=["text"]).column("text").to_pylist()


def shingles(text: str) -> set[bytes]:
    words = text.split(" ")
    return {" ".join(words[at : at + SHINGLE]).encode() for at in range(max(1, len(words) - SHINGLE + 1))}


def clusters(edges: list[tuple[int, int]], count: int) -> np.ndarray:
    """(count,) the smallest member of each one's cluster."""
    from egpo.data.near import components

    return components(np.array(edges, dtype=np.int64).reshape(-1, 2), count)


def _datasketch(sets: Iterator[Any], count: int, **options: Any) -> np.ndarray:
    from datasketch import MinHash, MinHashLSH

    lsh, edges = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), []
    made = MinHash.generator(sets, num_perm=PERMUTATIONS, scheme="affine32", seed=1, **options)
    for number, sketch in enumerate(made):
        edges += [(number, other) for other in lsh.query(sketch)]
        lsh.insert(number, sketch)
    return clusters(edges, count)


def datasketch(texts: list[str]) -> np.ndarray:
    """As its documentation does it: MinHash.generator over sets of shingles, query, insert."""
    return _datasketch((shingles(text) for text in texts), len(texts))


def datasketch_our_hash(texts: list[str]) -> np.ndarray:
    """The same over the 32-bit hashes of our shingles: what mode `paper` must agree with."""
    from egpo.data.minhash import hash32
    from egpo.data.ngrams import ngrams
    from egpo.data.tokens import tokenised

    made = ngrams(tokenised(texts), SHINGLE)
    hashes, starts = hash32(made.hashes), made.starts
    sets = (hashes[start:end].tolist() for start, end in pairwise(starts))
    return _datasketch(sets, len(texts), hashfunc=int)


def _ours(texts: list[str], mode: str) -> np.ndarray:
    from egpo.config.data import Deduplication
    from egpo.data.deduplicate import near_pairs
    from egpo.data.near import components
    from egpo.data.ngrams import ngrams
    from egpo.data.tokens import tokenised

    settings = Deduplication(mode=mode, num_perm=PERMUTATIONS, threshold=THRESHOLD, ngram_size=SHINGLE, bands=BANDS)
    pairs, _ = near_pairs(ngrams(tokenised(texts), SHINGLE), settings)
    return components(pairs, len(texts))


def paper(texts: list[str]) -> np.ndarray:
    return _ours(texts, "paper")


def verified(texts: list[str]) -> np.ndarray:
    return _ours(texts, "verified")


def exact_join(texts: list[str]) -> np.ndarray:
    """Our prefix-filter join, without MinHash."""
    from egpo.data.near import components, exact_pairs
    from egpo.data.ngrams import ngrams
    from egpo.data.tokens import tokenised

    return components(exact_pairs(ngrams(tokenised(texts), SHINGLE), THRESHOLD), len(texts))


def rensa(texts: list[str]) -> np.ndarray:
    """Its R-MinHash and LSH with 8 bands, as in its own benchmark; candidates unchecked."""
    from rensa import RMinHash, RMinHashLSH

    lsh, edges = RMinHashLSH(THRESHOLD, PERMUTATIONS, 8), []
    for number, text in enumerate(texts):
        sketch = RMinHash(PERMUTATIONS, 42)
        sketch.update([shingle.decode() for shingle in shingles(text)])
        edges += [(number, other) for other in lsh.query(sketch)]
        lsh.insert(number, sketch)
    return clusters(edges, len(texts))


def text_dedup(file: Path, work: Path, count: int) -> np.ndarray:
    """Its command `minhash`, one process, at our parameters."""
    import click
    from text_dedup.minhash import main

    options = {
        "path": "parquet",
        "data_files": file,
        "split": "train",
        "column": "text",
        "cache_dir": work / "cache",
        "output": work / "out",
        "num_proc": 1,
        "ngram": SHINGLE,
        "min_length": 1,
        "num_perm": PERMUTATIONS,
        "threshold": THRESHOLD,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    try:
        main([*arguments, "--debug"], standalone_mode=False)
    except click.ClickException as error:
        raise SystemExit(f"text-dedup: {error.format_message()}") from None
    parents = pickle.loads((work / "out" / "uf.pkl").read_bytes()).parent  # written a moment ago, here
    return clusters(list(parents.items()), count)


def datatrove(file: Path, work: Path, count: int) -> np.ndarray:
    """Its four stages on one worker, with its own 14 bands of 8; its normalisation of numbers and signs is off."""
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupFilter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Blanks(WordTokenizer):
        """Splits at blanks, faster than any tokenizer."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split(" ")

        sent_tokenize = span_tokenize = word_tokenize

    kept = TextNormConfig(norm_numbers=False, remove_punctuation=False)
    config = MinhashConfig(n_grams=SHINGLE, norm_config=kept)
    signatures, buckets, removed = (str(work / name) for name in ("signatures", "buckets", "removed"))

    reader = ParquetReader(str(file.parent), glob_pattern=file.name)
    stages: list[tuple[list[Any], int]] = [
        ([reader, MinhashDedupSignature(signatures, config, language=Blanks())], 1),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(buckets, removed, config=config, save_cluster_id=True)], 1),
        ([reader, MinhashDedupFilter(removed), ParquetWriter(str(work / "kept"))], 1),
    ]
    for number, (steps, tasks) in enumerate(stages):
        LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(work / f"logs-{number}")).run()
    members, names = np.fromfile(work / "removed" / "000000.clusters", dtype="<u4").reshape(-1, 2).T.astype(np.int64)
    labels = np.arange(count)
    labels[members] = count + names
    return labels


IN_MEMORY: dict[str, Callable[[list[str]], np.ndarray]] = {
    "datasketch": datasketch,
    "datasketch, our hash": datasketch_our_hash,
    "egpo, paper": paper,
    "egpo, verified": verified,
    "exact join": exact_join,
    "rensa": rensa,
}
FROM_FILES: dict[str, Callable[[Path, Path, int], np.ndarray]] = {"text-dedup": text_dedup, "datatrove": datatrove}


def cpu_seconds() -> float:
    """Of this process and the children it has waited for, in all their threads."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def peak_mib() -> float:
    """Most memory of this process. Not ru_maxrss, which starts at that of the process that started this one."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main(name: str, file: Path, out: Path) -> None:
    if name in IN_MEMORY:
        texts = read(file)
        IN_MEMORY[name](texts[:200])  # imports, and whatever else happens once
        start, clock = cpu_seconds(), time.monotonic()
        labels = IN_MEMORY[name](texts)
    else:
        count = pq.ParquetFile(file).metadata.num_rows
        work = out.with_suffix("")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        start, clock = cpu_seconds(), time.monotonic()
        labels = FROM_FILES[name](file, work, count)
    used = {"cpu": cpu_seconds() - start, "seconds": time.monotonic() - clock, "peak": peak_mib()}
    np.save(out, labels)
    print("\n" + json.dumps(used))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
