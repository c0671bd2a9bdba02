"""The Tidepool model, a small llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied embeddings."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

CONFIG = dict(vocab=2048, context=1024, width=256, layers=4, heads=8, kv_heads=4, ffn=768, rope_base=10000.0, eps=1e-5)


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, CONFIG["eps"]).to(x.dtype)


def rotate(x, cos, sin):
    """Rotary positions on neighbouring pairs, the order that GGUF's llama architecture expects."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2).to(x.dtype)


def attend(q, k, v, mask):
    if isinstance(mask, BlockMask):
        return flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["width"] // c["heads"]
        self.attn_norm, self.ffn_norm = RMSNorm(c["width"]), RMSNorm(c["width"])
        self.q = nn.Linear(c["width"], c["heads"] * d, bias=False)
        self.k = nn.Linear(c["width"], c["kv_heads"] * d, bias=False)
        self.v = nn.Linear(c["width"], c["kv_heads"] * d, bias=False)
        self.o = nn.Linear(c["heads"] * d, c["width"], bias=False)
        self.gate = nn.Linear(c["width"], c["ffn"], bias=False)
        self.up = nn.Linear(c["width"], c["ffn"], bias=False)
        self.down = nn.Linear(c["ffn"], c["width"], bias=False)
        self.d = d

    def forward(self, x, cos, sin, mask):
        B, T, _ = x.shape
        h = self.attn_norm(x)
        q, k, v = (p(h).view(B, T, -1, self.d).transpose(1, 2) for p in (self.q, self.k, self.v))
        y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, mask)
        x = x + self.o(y.transpose(1, 2).reshape(B, T, -1))
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed = nn.Embedding(c["vocab"], c["width"])
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["layers"]))
        self.norm = RMSNorm(c["width"])
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(
                    p, std=0.02 / (math.sqrt(2 * c["layers"]) if name.endswith(("o.weight", "down.weight")) else 1)
                )
        d = c["width"] // c["heads"]
        angle = torch.arange(c["context"])[:, None] * c["rope_base"] ** (-torch.arange(0, d, 2) / d)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, tokens, mask=None):
        x, T = self.embed(tokens), tokens.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:T], self.sin[:T], mask)
        return F.linear(self.norm(x), self.embed.weight)

    def loss(self, tokens, targets, mask):
        return F.cross_entropy(self(tokens, mask).flatten(0, 1).float(), targets.flatten(), ignore_index=-100)


def document_mask(batch, T, device):
    """A function from document numbers to a mask: causal attention that stays inside each document."""
    buffer = torch.zeros(batch, T, dtype=torch.int32, device=device)  # one buffer, so the mask compiles once

    def allowed(b, h, q, k):
        return (q >= k) & (buffer[b, q] == buffer[b, k])

    if device != "cuda":
        return lambda doc: torch.ones(T, T, dtype=torch.bool).tril() & (doc[:, None, :, None] == doc[:, None, None, :])
    build = torch.compile(create_block_mask)

    def mask_for(doc):
        buffer.copy_(doc)
        return build(allowed, batch, None, T, T, device=device)

    return mask_for
