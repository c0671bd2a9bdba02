"""Train the Tidepool tokenizer and model on the corpus of make_corpus.py.

    python train.py --corpus corpus --out model --steps 11000

The model is in tidepool_model.py.
Writes OUT/tokenizer.json, OUT/weights.npz (float16), OUT/config.json and OUT/reference.json, which holds
held-out prompts with this script's own greedy answers and first-token log-probabilities, so that an
exported model can be compared with the trained one.
"""

import argparse
import glob
import itertools
import json
import math
import multiprocessing
import os
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tidepool_model import CONFIG, Model, document_mask

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, TURN_START, TURN_END = range(3)  # their ids


# ------------------------------------------------------------------------------- tokenizer and data


def read(path, limit=None):
    """The documents of a corpus file, or the first `limit` of them."""
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in itertools.islice(f, limit)]


def train_tokenizer(paths):
    """Byte-level BPE with the GPT-2 split. Digits are kept apart while training, so no merge ever joins them."""
    tok = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab"],
        special_tokens=SPECIAL,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tok.train_from_iterator((d["text"] for p in paths for d in read(p, 4000)), trainer)
    tok.pre_tokenizer = byte_level
    return tok


def encode(job):
    """Token ids of all documents in a file, their lengths, and which tokens are answers (or plain text)."""
    path, tokenizer = job
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tok = Tokenizer.from_file(tokenizer)
    assistant = tok.encode("assistant").ids[0]
    ids, lengths, answer = [], [], []
    for doc in read(path):
        t = np.array(tok.encode(doc["text"]).ids, dtype=np.uint16)
        start = np.flatnonzero(t == TURN_START)
        if len(start):  # a chat: the word after each <|im_start|> is the role
            turn = np.cumsum(t == TURN_START) - 1
            answer.append((t[start + 1] == assistant)[turn] & (t != TURN_START))
        else:
            answer.append(np.ones(len(t), dtype=bool))
        ids.append(t)
        lengths.append(len(t))
    return np.concatenate(ids), np.array(lengths), np.concatenate(answer)


def pack(parts, rng, T):
    """Fill rows of T tokens with whole documents. Returns tokens, targets (-100: none) and document numbers."""
    ids, lengths, answer = (np.concatenate([p[i] for p in parts]) for i in range(3))
    starts = np.cumsum(lengths) - lengths
    rows, row, used = [], [], 0
    for d in rng.permutation(len(lengths)):
        if lengths[d] > T:
            continue
        if used + lengths[d] > T:
            rows.append(row)
            row, used = [], 0
        row.append(d)
        used += lengths[d]
    x = np.zeros((len(rows), T), dtype=np.int16)
    y = np.full((len(rows), T), -100, dtype=np.int16)
    doc = np.full((len(rows), T), -1, dtype=np.int16)
    for i, row in enumerate(rows):
        at = 0
        for k, d in enumerate(row):
            s, n = starts[d], lengths[d]
            t, want = ids[s : s + n], answer[s : s + n]
            x[i, at : at + n] = t
            y[i, at : at + n - 1] = np.where(want[1:], t[1:].astype(np.int16), -100)
            doc[i, at : at + n] = k
            at += n
    return [torch.from_numpy(a) for a in (x, y, doc)]


# ------------------------------------------------------------------------------- training


def optimizer_for(model, args):
    decay = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() != 2]
    groups = [dict(params=decay, weight_decay=0.1), dict(params=rest, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95), eps=1e-9, fused=args.device == "cuda")


def train(model, data, held, args):
    data, held = ([t.to(args.device) for t in d] for d in (data, held))
    mask_for = document_mask(args.batch, args.row, args.device)
    loss_of = torch.compile(model.loss) if args.device == "cuda" else model.loss
    opt, order, started = optimizer_for(model, args), [], time.time()

    def batch_loss(source, rows):
        x, y, doc = (t[rows] for t in source)
        with torch.autocast(args.device, dtype=torch.bfloat16):
            return loss_of(x.long(), y.long(), mask_for(doc))

    def held_out_loss():  # with gradients on, so that the compiled step is reused
        rows = torch.arange(len(held[0]), device=args.device).split(args.batch)
        losses = [batch_loss(held, r).item() for r in rows if len(r) == args.batch]
        return sum(losses) / len(losses)

    generator = torch.Generator().manual_seed(args.seed)
    for step in range(args.steps + 1):
        # a time limit, if given, shortens the schedule rather than cutting it off
        progress = max(step / args.steps, (time.time() - started) / (60 * args.minutes) if step > 50 else 0)
        if step % 500 == 0 or progress >= 1:
            print(f"step {step}  {time.time() - started:.1f} s  held-out loss {held_out_loss():.4f}", flush=True)
        if progress >= 1:
            break
        if len(order) < args.batch:
            order = torch.randperm(len(data[0]), generator=generator).to(args.device)
        rows, order = order[: args.batch], order[args.batch :]
        lr = args.lr * min((step + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * progress))
        for group in opt.param_groups:
            group["lr"] = lr
        loss = batch_loss(data, rows)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        if step % 100 == 0:
            print(f"step {step}  {time.time() - started:.1f} s  loss {loss.item():.4f}  lr {lr:.5f}", flush=True)


# ------------------------------------------------------------------------------- checking


def ended(ids):
    return ids[-1] in (END_OF_TEXT, TURN_END)


@torch.no_grad()
def greedy(model, prompts, device, limit=320):
    """Greedy answers for all prompts at once, in float32. Returns new ids and the first log-probabilities."""
    ids, new, first = [list(p) for p in prompts], [[] for _ in prompts], None
    for _ in range(limit):
        T = max(map(len, ids))
        if CONFIG["context"] <= T:
            break
        x = torch.zeros(len(ids), T, dtype=torch.long)
        for i, t in enumerate(ids):
            x[i, : len(t)] = torch.tensor(t)
        last = torch.tensor([len(t) - 1 for t in ids], device=device)
        logits = model(x.to(device))[torch.arange(len(ids), device=device), last]
        first = F.log_softmax(logits, dim=-1) if first is None else first
        for i, t in enumerate(logits.argmax(-1).tolist()):
            if not new[i] or not ended(new[i]):
                new[i].append(t)
                ids[i].append(t)
        if all(map(ended, new)):
            break
    return new, first


def reference(model, tok, docs, device, count=48):
    """Held-out one-turn chats of as many kinds as there are, answered by the trained model."""
    chosen, seen = [], {}
    for doc in docs:
        text, kind = doc["text"], doc["keys"][0].split()[0]
        if (
            len(doc["keys"]) == 1
            and text.count("assistant\n") == 1
            and seen.get(kind, 0) < (6 if kind == "story" else 2)
        ):
            seen[kind] = seen.get(kind, 0) + 1
            chosen.append((kind, text.split("assistant\n")[0] + "assistant\n", text.split("assistant\n")[1]))
    chosen = chosen[:count]
    prompts = [tok.encode(p).ids for _, p, _ in chosen]
    new, first = greedy(model, prompts, device)
    out = []
    for (kind, prompt, expected), p, n, logp in zip(chosen, prompts, new, first, strict=True):
        top = logp.topk(5)
        scores = zip(top.values.tolist(), top.indices.tolist(), strict=True)
        out.append(
            dict(
                kind=kind,
                prompt=prompt,
                prompt_ids=p,
                expected=expected,
                answer=tok.decode(n, skip_special_tokens=True),
                answer_ids=n,
                stopped=ended(n),
                first={tok.id_to_token(i): round(v, 4) for v, i in scores},
            )
        )
    return out


def load_weights(model, folder):
    saved = np.load(os.path.join(folder, "weights.npz"))
    model.load_state_dict({n: torch.from_numpy(saved[n]).float() for n in saved.files})


def save_weights(model, folder):
    """Store the weights as float16, and round those in memory too, so that the check sees what is exported."""
    with torch.no_grad():
        for t in model.parameters():
            t.copy_(t.half().float())
    weights = {n: t.detach().cpu().half().numpy() for n, t in model.named_parameters()}
    np.savez(os.path.join(folder, "weights.npz"), **weights)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(CONFIG, f)


def save_reference(answers, folder):
    with open(os.path.join(folder, "reference.json"), "w", encoding="utf-8") as f:
        json.dump(answers, f, indent=1, ensure_ascii=False)
    for r in answers[:12]:
        print("-" * 60 + "\n" + r["prompt"] + r["answer"] + ("" if r["stopped"] else " [did not stop]"))


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--corpus", default="corpus")
    p.add_argument("--out", default="model")
    p.add_argument("--init", help="continue from the tokenizer and weights in this folder")
    p.add_argument("--steps", type=int, default=11000)
    p.add_argument("--minutes", type=float, default=1e9, help="finish the schedule within this time")
    p.add_argument("--batch", type=int, default=64, help="rows in a step")
    p.add_argument("--row", type=int, default=CONFIG["context"], help="tokens in a row; longer documents are left out")
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = p.parse_args()
    if min(args.steps, args.batch, args.row) < 1:
        p.error(f"--steps ({args.steps}), --batch ({args.batch}) and --row ({args.row}) must be at least 1")
    if args.row > CONFIG["context"]:
        p.error(f"--row ({args.row}) must not exceed the context of {CONFIG['context']} tokens")
    if not corpus_files(args.corpus):
        p.error(
            f"no train-*.jsonl with heldout.jsonl in {args.corpus}; write them with make_corpus.py --out {args.corpus}"
        )
    return args


def corpus_files(folder):
    """The training files, then the held-out file; nothing unless both kinds are there."""
    training = sorted(glob.glob(os.path.join(folder, "train-*.jsonl")))
    held = os.path.join(folder, "heldout.jsonl")
    return [*training, held] if training and os.path.exists(held) else []


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    os.makedirs(args.out, exist_ok=True)
    clock = time.time()

    paths, tok_path = corpus_files(args.corpus), os.path.join(args.out, "tokenizer.json")
    tok = Tokenizer.from_file(os.path.join(args.init, "tokenizer.json")) if args.init else train_tokenizer(paths[:-1])
    tok.save(tok_path)
    print(f"tokenizer: {tok.get_vocab_size()} tokens, {time.time() - clock:.0f} s", flush=True)
    with multiprocessing.get_context("spawn").Pool(min(len(paths), os.cpu_count())) as pool:
        parts = pool.map(encode, [(path, tok_path) for path in paths], chunksize=1)
    rng = np.random.default_rng(args.seed)
    data, held = pack(parts[:-1], rng, args.row), pack(parts[-1:], rng, args.row)
    held = [t[: 16 * args.batch] for t in held]
    for name, packed in (("training", data), ("held-out", held)):
        if len(packed[0]) < args.batch:
            sys.exit(
                f"{len(packed[0])} rows of {name} text are fewer than --batch ({args.batch}); "
                "make a larger corpus or lower --batch or --row"
            )
    tokens = sum(len(part[0]) for part in parts)
    print(f"data: {tokens / 1e6:.1f} M tokens in {len(data[0])} rows, {time.time() - clock:.0f} s", flush=True)

    model = Model(CONFIG).to(args.device)
    if args.init:
        load_weights(model, args.init)
    print(f"model: {sum(t.numel() for t in model.parameters())} parameters", flush=True)
    train(model, data, held, args)

    torch.set_float32_matmul_precision("highest")
    save_weights(model, args.out)
    answers = reference(model, tok, read(paths[-1]), args.device)
    save_reference(answers, args.out)
    stopped = sum(r["stopped"] for r in answers)
    print(f"{stopped} of {len(answers)} answers end by themselves; {time.time() - clock:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
