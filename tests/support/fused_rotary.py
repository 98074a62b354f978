"""Patches the smoke base as Axolotl does, in its order, and compares its attention with the unpatched one: prints {"fused": ..., "apart": [...], "moved": [...]}.

Liger's kernel runs in Triton's interpreter, on a CPU, in 32 bits: two packed rows and one that is not.
"""

import json
import sys

import torch
from axolotl.integrations.liger.plugin import LigerPlugin
from axolotl.monkeypatch import lora_kernels
from axolotl.utils.dict import DictDefault
from transformers import MistralConfig
from transformers.models.mistral import modeling_mistral

from preflight.training.plugin import KitPlugin

if __name__ == "__main__":
    cfg = DictDefault(
        base_model="sample_data/smoke_base", model_config_type="mistral", liger_rope=True, lora_qkv_kernel=True, output_dir="outputs", seed=1
    )
    plain = modeling_mistral.apply_rotary_pos_emb
    lora_kernels.patch_self_attn_lora(cfg)
    for plugin in (LigerPlugin(), KitPlugin()):
        plugin.pre_model_load(cfg)
    fused = modeling_mistral.MistralAttention.forward.__globals__["apply_rotary_pos_emb"]
    places = torch.stack([torch.cat([torch.arange(5), torch.arange(11)]), torch.cat([torch.arange(9), torch.arange(7)]), torch.arange(16)])
    shape = MistralConfig(hidden_size=256, num_attention_heads=8, num_key_value_heads=2, head_dim=32)
    cos, sin = modeling_mistral.MistralRotaryEmbedding(shape)(torch.ones(1), places)
    heads = [torch.randn(3, 16, count, 32).transpose(1, 2) for count in (8, 2)]
    results = []
    for function in (plain, fused):
        leaves = [head.clone().requires_grad_() for head in heads]
        turned = function(*[leaf * 1 for leaf in leaves], cos, sin)
        before = [one.detach().clone() for one in turned]
        torch.autograd.backward(turned, [head.cos() for head in heads])  # Liger's works in place
        results.append([*before, *[leaf.grad for leaf in leaves]])
    apart = [float((a - b).abs().max()) for a, b in zip(*results, strict=True)]
    moved = [float((turned - head).abs().max()) for turned, head in zip(results[1], heads, strict=False)]
    sys.stdout.write(json.dumps({"fused": fused.__module__, "apart": apart, "moved": moved}) + "\n")
