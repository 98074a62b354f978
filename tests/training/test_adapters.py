"""The adapter's products, shared by projections of one input, against Axolotl's own kernels: in float64, so that only mathematics differs."""

import types
from typing import Any

import pytest
import torch
from axolotl.kernels import lora
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import MistralConfig, MistralForCausalLM

from preflight.training.plugin import KitPlugin, adapters

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def layer_of(**settings: Any) -> Any:
    """A layer of a small Mistral with adapters that are not zero."""
    torch.manual_seed(0)
    shape = MistralConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, vocab_size=32)
    given = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": ALL} | settings
    model = get_peft_model(MistralForCausalLM(shape), LoraConfig(**given)).double()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model.train().base_model.model.model.layers[0]


def swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As Axolotl's kernel gives it: the hidden values, and the gradients of gate and up."""
    with torch.enable_grad():
        gate, up = gate.detach().requires_grad_(), up.detach().requires_grad_()
        hidden = nn.functional.silu(gate) * up
    return hidden.detach(), *torch.autograd.grad(hidden, (gate, up), grad.view_as(hidden))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """SwiGLU without its Triton kernel, and one way for both to draw what dropout takes."""
    monkeypatch.setattr(lora, "swiglu_forward", lambda gate, up: nn.functional.silu(gate) * up)
    monkeypatch.setattr(lora, "swiglu_backward", swiglu_backward)
    monkeypatch.setattr(
        lora,
        "_apply_dropout",
        lambda dropout, given, training: torch.native_dropout(given, dropout.p, True)[0] if training and isinstance(dropout, nn.Dropout) else None,
    )


def learnt(apply: Any, module: Any, given: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """What it gives, and the gradients of the input and of each adapter's matrix."""
    module.zero_grad()
    given = given.clone().requires_grad_()
    torch.manual_seed(1)
    found = apply(module, given)
    found = list(found) if isinstance(found, tuple) else [found]
    sum((one * torch.linspace(-1, 1, one.shape[-1], dtype=one.dtype)).sin().sum() for one in found).backward()
    assert given.grad is not None
    return found, {"input": given.grad} | {name: one.grad for name, one in module.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(
    ("part", "own", "theirs"),
    [("self_attn", "apply_qkv", "apply_lora_qkv"), ("self_attn", "apply_o", "apply_lora_o"), ("mlp", "apply_mlp", "apply_lora_mlp_swiglu")],
)
@pytest.mark.parametrize("training", [True, False])
def test_it_computes_what_axolotl_does(part: str, own: str, theirs: str, dropout: float, training: bool) -> None:
    module = getattr(layer_of(lora_dropout=dropout).train(training), part)
    given = torch.randn(2, 5, 64, dtype=torch.float64)
    expected, of_expected = learnt(getattr(lora, theirs), module, given)
    found, of_found = learnt(getattr(adapters, own), module, given)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert of_found.keys() == of_expected.keys()
    assert len(of_found) in (3, 7)
    for name in of_found:
        torch.testing.assert_close(of_found[name], of_expected[name], msg=name)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"bias": "lora_only", "lora_bias": True},
        {"alpha_pattern": {"k_proj": 4}},
        {"rank_pattern": {"k_proj": 4}, "alpha_pattern": {"k_proj": 8}},
        {"target_modules": ["q_proj"]},
    ],
)
def test_what_does_not_fit_is_left_to_axolotl(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module, asked = layer_of(**settings).self_attn, []
    monkeypatch.setattr(lora, "apply_lora_qkv", lambda *given: asked.append(given) or "theirs")
    assert adapters.apply_qkv(module, torch.randn(1, 3, 64, dtype=torch.float64)) == "theirs"
    assert len(asked) == 1


def test_an_input_that_dropout_thinned_out_is_kept_once() -> None:
    """The memory of it: the thinned input, its mask and the thin products, and neither the input nor its copies."""
    module, kept = layer_of().self_attn, []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tuple(tensor.shape)) or tensor, lambda tensor: tensor):
        adapters.apply_qkv(module, torch.randn(1, 1_000, 64, dtype=torch.float64, requires_grad=True))
    assert sorted(shape for shape in kept if shape[0] == 1_000) == [(1_000, 24), (1_000, 64), (1_000, 64)]


def test_a_model_is_given_it_where_axolotl_gave_it_its_kernels() -> None:
    layer = layer_of()
    layer.self_attn.apply_qkv = types.MethodType(lora.apply_lora_qkv, layer.self_attn)
    layer.self_attn.apply_o = types.MethodType(lambda self, given: "another", layer.self_attn)
    layer.mlp.forward = types.MethodType(lora.apply_lora_mlp_swiglu, layer.mlp)
    adapters.stack_products(layer)
    assert layer.self_attn.apply_qkv.__func__ is adapters.apply_qkv
    assert layer.mlp.forward.__func__ is adapters.apply_mlp
    assert layer.self_attn.apply_o(None) == "another"


@pytest.mark.parametrize("on", [True, False])
def test_the_key_turns_it_on(on: bool) -> None:
    layer = layer_of()
    layer.mlp.forward = types.MethodType(lora.apply_lora_mlp_swiglu, layer.mlp)
    cfg = types.SimpleNamespace(fp8_frozen_weights=None, stack_lora_products=on, cuda_graphs=None)
    KitPlugin.post_model_load(KitPlugin(), cfg, layer)
    assert layer.mlp.forward.__func__ is (adapters.apply_mlp if on else lora.apply_lora_mlp_swiglu)
