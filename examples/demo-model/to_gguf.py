"""Export the trained model to GGUF (needs the packages gguf and numpy).

    python to_gguf.py --model model --out tidepool-3m-f16.gguf

Matrices are stored as float16 and norms as float32. The rotary pairs are already in the order that
llama.cpp uses for this architecture, so no weight is permuted.
"""

import argparse
import json
import os

import gguf
import numpy as np

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Part of a layer in train.py -> in GGUF.
NAMES = {
    "attn_norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def tensor_name(name):
    """'blocks.0.q.weight' -> 'blk.0.attn_q.weight'"""
    if name.startswith("blocks."):
        _, layer, part, _ = name.split(".")
        return f"blk.{layer}.{NAMES[part]}.weight"
    return {"embed.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]


def add_tokenizer(writer, tokenizer):
    vocab = tokenizer["model"]["vocab"]
    special = {t["content"] for t in tokenizer["added_tokens"]}
    tokens = sorted(vocab, key=vocab.get)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if t in special else normal for t in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(vocab["<|endoftext|>"])  # never added; without it llama.cpp would assume token 11
    writer.add_eos_token_id(vocab["<|im_end|>"])
    writer.add_eot_token_id(vocab["<|im_end|>"])
    writer.add_pad_token_id(vocab["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--model", default="model")
    p.add_argument("--out", default="tidepool-3m-f16.gguf")
    args = p.parse_args()
    for name in ("config.json", "tokenizer.json", "weights.npz"):
        if not os.path.exists(os.path.join(args.model, name)):
            p.error(f"no {name} in {args.model}; train.py --out {args.model} writes it")
    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as f:
        c = json.load(f)
    with open(os.path.join(args.model, "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = json.load(f)
    weights = np.load(os.path.join(args.model, "weights.npz"))

    writer = gguf.GGUFWriter(args.out, "llama")
    writer.add_name("Tidepool 3M")
    writer.add_description(
        "A tiny chat model trained from scratch on a synthetic corpus. Generated and trained by this project."
    )
    writer.add_size_label("3M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(c["context"])
    writer.add_embedding_length(c["width"])
    writer.add_block_count(c["layers"])
    writer.add_feed_forward_length(c["ffn"])
    writer.add_head_count(c["heads"])
    writer.add_head_count_kv(c["kv_heads"])
    writer.add_rope_dimension_count(c["width"] // c["heads"])
    writer.add_rope_freq_base(c["rope_base"])
    writer.add_layer_norm_rms_eps(c["eps"])
    writer.add_vocab_size(c["vocab"])
    add_tokenizer(writer, tokenizer)
    for name in weights.files:
        w = weights[name]
        writer.add_tensor(tensor_name(name), w.astype(np.float32 if w.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{args.out}: {sum(weights[n].size for n in weights.files)} parameters, {os.path.getsize(args.out)} bytes")


if __name__ == "__main__":
    main()
