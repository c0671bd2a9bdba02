"""Write the synthetic chat corpus of the Tidepool demo model.

    python make_corpus.py --samples 500000 --out corpus

Everything comes from the tables and functions of the package tidepool_corpus, so the corpus is our own.
Each line of OUT/train-NN.jsonl is {"text": ...}: a ChatML conversation, or plain text without roles.
OUT/heldout.jsonl gets the samples with a held-out key (about one combination in fifty, such as
"story, fox, lost a key"); those combinations never occur in the training files.
"""

import argparse
import glob
import os

from tidepool_corpus.files import part_name, write_corpus


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--samples", type=int, default=500_000, help="shared evenly among the files, rounded down")
    p.add_argument("--parts", type=int, default=16, help="number of files; the corpus depends on it")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out", default="corpus")
    args = p.parse_args()
    if args.parts < 1:
        p.error(f"--parts ({args.parts}) must be at least 1")
    if args.samples < args.parts:
        p.error(f"--samples ({args.samples}) must be at least --parts ({args.parts}), or files stay empty")
    # train.py reads every train-*.jsonl, so a file of an earlier run must not slip in.
    ours = {part_name(i) for i in range(args.parts)}
    found = sorted(glob.glob(os.path.join(args.out, "train-*.jsonl")))
    strangers = [path for path in found if os.path.basename(path) not in ours]
    if strangers:
        p.error(f"{strangers[0]} belongs to a run with more parts; remove it or choose another --out")
    return args


def main():
    args = arguments()
    distinct, held = write_corpus(args.out, args.samples, args.parts, args.seed)
    size = sum(os.path.getsize(os.path.join(args.out, name)) for name in os.listdir(args.out)) / 1e6
    print(f"{args.samples} samples, {distinct} distinct in training, {held} held out, {size:.0f} MB")


if __name__ == "__main__":
    main()
