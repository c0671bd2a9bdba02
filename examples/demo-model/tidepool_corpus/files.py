"""Writes the corpus files, several at a time: the only module that touches the disk.

A file depends on the seed and its own number only, so the number of processes does not change the corpus.
"""

import hashlib
import json
import multiprocessing
import os
import zlib
from typing import NamedTuple

from .conversation import chat, plain
from .draw import chance, rng

# One key in HELD_OUT_ONE_IN is kept out of training.
HELD_OUT_ONE_IN = 50
# About 900 tokens, so that a document stays well inside the context of 1024.
MAX_TEXT_CHARS = 3600
# The share of documents that have no roles.
PLAIN_SHARE = 0.1


class Part(NamedTuple):
    """One training file to write."""

    index: int
    samples: int
    seed: int
    folder: str


class Written(NamedTuple):
    """What a training file left for the caller: its held-out lines, and a hash of each of its texts."""

    held: list
    hashes: set


def write_corpus(folder, samples, parts, seed):
    """Write `parts` training files and the held-out file. Returns the numbers of distinct and held-out texts."""
    os.makedirs(folder, exist_ok=True)
    jobs = [Part(i, samples // parts, seed, folder) for i in range(parts)]
    with multiprocessing.Pool() as pool:
        results = pool.map(write_part, jobs, chunksize=1)
    held = [line for written in results for line in written.held]
    with open(os.path.join(folder, "heldout.jsonl"), "w", encoding="utf-8", newline="\n") as f:
        f.writelines(held)
    return len(set().union(*(written.hashes for written in results))), len(held)


def part_name(index):
    return f"train-{index:02d}.jsonl"


def write_part(part):
    rng.seed(f"{part.seed}-{part.index}")
    held, hashes = [], set()
    with open(os.path.join(part.folder, part_name(part.index)), "w", encoding="utf-8", newline="\n") as f:
        for _ in range(part.samples):
            keys, text = plain() if chance(PLAIN_SHARE) else chat()
            if len(text) > MAX_TEXT_CHARS:
                continue
            if is_held_out(keys):
                held.append(json.dumps({"text": text, "keys": keys}, ensure_ascii=False) + "\n")
            else:
                f.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                hashes.add(hashlib.md5(text.encode(), usedforsecurity=False).digest())
    return Written(held, hashes)


def is_held_out(keys):
    """Whether one of the keys is held out. A key of one word names a whole kind of task and never is."""
    return any(zlib.crc32(k.encode()) % HELD_OUT_ONE_IN == 0 for k in keys if " " in k.strip())
