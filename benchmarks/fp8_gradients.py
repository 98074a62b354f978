"""The gradients of each adapter matrix of a 7B-shaped layer with `fp8_frozen_weights`, against those in bf16 and in float32 arithmetic.

    python benchmarks/fp8_gradients.py      needs a GPU of compute capability 8.9 or later; a minute

Prints cosine and relative size. Weights and activations are random: normal, and with a few channels 20 times as large, as real ones have.
"""

import argparse
import sys
import time
from pathlib import Path
from types import SimpleNamespace

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--kept", action="store_true", help="with copies, in the place of unpacking for each product")
args = parser.parse_args()  # before what needs a GPU

import bitsandbytes as bnb  # noqa: E402
import torch  # noqa: E402
from axolotl.kernels import lora  # noqa: E402
from axolotl.kernels.swiglu import swiglu_backward, swiglu_forward  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from preflight.training.plugin.fp8 import use_fp8  # noqa: E402
from preflight.training.plugin.unpack8 import Packed, unpack  # noqa: E402

HIDDEN, INNER, KEY, TOKENS, RANK = 4_096, 14_336, 1_024, 2_048, 16
SHAPES = {"q": (HIDDEN, HIDDEN), "k": (KEY, HIDDEN), "v": (KEY, HIDDEN), "o": (HIDDEN, HIDDEN)}
MLP = {"gate": (INNER, HIDDEN), "up": (INNER, HIDDEN), "down": (HIDDEN, INNER)}


def projection(out: int, into: int) -> dict[str, object]:
    weight = torch.randn(out, into, device="cuda", dtype=torch.bfloat16) * 0.02
    packed, state = bnb.functional.quantize_4bit(weight, compress_statistics=True, quant_type="nf4", quant_storage=torch.bfloat16)
    a = (torch.randn(RANK, into, device="cuda") / into**0.5).requires_grad_()
    b = (torch.randn(out, RANK, device="cuda") * 0.01).requires_grad_()
    return {"weight": packed, "quant": state, "A": a, "B": b}


def gradients(made: dict[str, dict[str, object]], x: torch.Tensor, output: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    for one in made.values():
        one["A"].grad = one["B"].grad = None  # type: ignore[attr-defined]
    x = x.detach().to(dtype).requires_grad_()
    arguments = lambda one: (one["weight"], None, one["quant"], one["A"], one["B"], 2.0, None, None)  # noqa: E731
    if dtype == torch.float32:
        plain = {name: lora.dequantize(one["weight"], one["quant"]).float() for name, one in made.items()}
        project = lambda name, value: value @ plain[name].t() + 2.0 * value @ made[name]["A"].t() @ made[name]["B"].t()  # type: ignore[attr-defined] # noqa: E731
        q, k, v = (project(name, x) for name in "qkv")
        hidden = torch.nn.functional.silu(project("gate", x)) * project("up", x)
        mixed = project("o", q + torch.cat([k + v] * 4, -1)) + project("down", hidden)
    else:
        q, k, v = lora.LoRA_QKV.apply(x, None, *(part for name in "qkv" for part in arguments(made[name])), True)
        o = made["o"]
        mixed = lora.LoRA_O.apply(q + torch.cat([k + v] * 4, -1), None, o["weight"], None, o["quant"], o["A"], o["B"], 2.0, None, None)
        mlp = [part for name in MLP for part in arguments(made[name])]
        mixed = mixed + lora.LoRA_MLP.apply(x, None, *mlp, swiglu_forward, swiglu_backward, True)
    mixed.backward(output.to(mixed.dtype))
    found = {f"{name} {matrix}": one[matrix].grad.float().clone() for name, one in made.items() for matrix in "AB"}  # type: ignore[attr-defined]
    return found | {"input": x.grad.float(), "output": mixed.detach().float()}


def check_kernel(made: dict[str, dict[str, object]]) -> None:
    """Whether the kernel gives what its arithmetic gives in torch, and how long it takes."""
    for name, one in made.items():
        packed = Packed.of(one["weight"], one["quant"], lora.dequantize(one["weight"], one["quant"]))
        values = unpack(one["weight"], one["quant"])
        for found, expected in ((packed.rows(), values / packed.row_scales), (packed.columns(), values.t() / packed.column_scales)):
            same = (found[0].float() == expected.to(torch.float8_e4m3fn).float()).float().mean().item()
            off = ((found[0].float() - expected).abs() / expected.abs().clamp(min=2**-6)).max().item()
            torch.cuda.synchronize()
            before = time.perf_counter()
            for _ in range(20):
                packed.rows() if found[0].shape[0] == packed.state.shape[0] else packed.columns()
            torch.cuda.synchronize()
            print(
                f"{name}: {same:.6%} as in torch, the worst off by {off:.3f} of itself, {(time.perf_counter() - before) / 20 * 1e6:.0f} us",
                flush=True,
            )


def main() -> None:
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    made = {name: projection(*shape) for name, shape in (SHAPES | MLP).items()}
    plain = lora.dequantize
    check_kernel(made)
    for kind in ("normal", "outliers"):
        x = torch.randn(1, TOKENS, HIDDEN, device="cuda")
        if kind == "outliers":
            x[..., torch.randperm(HIDDEN)[:8]] *= 20
        output = torch.randn(1, TOKENS, HIDDEN, device="cuda") * 1e-3
        lora.dequantize = plain
        true, bf16 = gradients(made, x, output, torch.float32), gradients(made, x, output, torch.bfloat16)
        use_fp8(SimpleNamespace(training=True), keep=args.kept)
        fp8 = gradients(made, x, output, torch.bfloat16)
        print(f"\n| {kind} inputs | bf16 against float32 | FP8 against float32 | FP8 against bf16 | size, FP8 over bf16 |\n|---|---|---|---|---|")
        for name in true:
            pairs = ((bf16, true), (fp8, true), (fp8, bf16))
            cosines = [torch.cosine_similarity(one[name].flatten(), other[name].flatten(), 0).item() for one, other in pairs]
            print(f"| {name} | {' | '.join(f'{one:.5f}' for one in cosines)} | {(fp8[name].norm() / bf16[name].norm()).item():.4f} |")


if __name__ == "__main__":
    main()
