"""The kernels of preflight/training/plugin/thin.py beside torch and Axolotl, on a CUDA machine: how far apart, and microseconds of each.

    python benchmarks/thin_products.py             the tile that the kit uses
    python benchmarks/thin_products.py --tiles     and others

For the 7B's widths and 8,192 tokens in bf16, adapters of rank 16. What there was before took a pass for each operation.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TOKENS, HIDDEN, INNER, RANK, SCALE = 8_192, 4_096, 14_336, 16, 2.0
TINY = 1e-6  # a product that changes nothing; of 0 cuBLAS does none
TILES = ((16, 128, 4), (16, 256, 4), (32, 64, 4), (32, 128, 4), (32, 256, 8), (64, 64, 4), (64, 128, 8), (128, 128, 8))


def some(*size: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*size, device="cuda", dtype=torch.bfloat16) * scale


def microseconds(function: Callable[[], object], times: int = 20) -> float:
    for _ in range(3):
        function()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        function()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / times * 1_000


def apart(found: torch.Tensor, expected: torch.Tensor) -> str:
    far = (found.float() - expected.float()).abs()
    return f"at most {float(far.max()):.4f} apart, {float(far.mean()):.6f} in the mean, of {float(expected.float().abs().mean()):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", action="store_true", help="time other tiles too")
    args = parser.parse_args()
    from axolotl.kernels import swiglu as axolotl  # seconds that --help does not need

    from preflight.training.plugin import thin

    print(f"{torch.cuda.get_device_name()}, {time.strftime('%Y-%m-%d')}, torch {torch.__version__}")
    total, left, right, mask = some(TOKENS, HIDDEN), some(TOKENS, 3 * RANK, scale=0.1), some(3 * RANK, HIDDEN, scale=0.1), some(TOKENS, HIDDEN) > -1.3
    gate, up, grad = (some(TOKENS, INNER) for _ in range(3))
    narrow, b = some(TOKENS, 2 * RANK, scale=0.1).split(RANK, 1), (some(INNER, RANK, scale=0.1), some(INNER, RANK, scale=0.1))
    behind, a = some(TOKENS, RANK, scale=0.1), some(RANK, INNER, scale=0.1)

    def added(one: torch.Tensor, *product: torch.Tensor) -> torch.Tensor:
        return one.addmm_(*product, alpha=SCALE)

    print(
        "add_dropped", apart(thin.add_dropped(total.clone(), left, right, mask, SCALE), total.float() + mask * SCALE * (left.float() @ right.float()))
    )
    mine, theirs = (gate.clone(), up.clone()), (added(gate.clone(), narrow[0], b[0].t()), added(up.clone(), narrow[1], b[1].t()))
    print("swiglu", apart(thin.swiglu(*mine, narrow, b, SCALE), axolotl.swiglu_forward(theirs[0][None], theirs[1][None])[0]))
    found = thin.swiglu_backward(grad.clone(), *mine, behind, a, SCALE)
    expected = axolotl.swiglu_backward(added(grad.clone(), behind, a), *theirs)
    for name, one, other in zip(("swiglu_backward: hidden", "gate", "up"), found, expected, strict=True):
        print(name, apart(one, other))
    before = (
        microseconds(lambda: total.addcmul_(left @ right, mask, value=0.0)),
        2 * microseconds(lambda: gate.addmm_(narrow[0], b[0].t(), alpha=TINY)) + microseconds(lambda: axolotl.swiglu_forward(gate[None], up[None])),
        microseconds(lambda: grad.addmm_(behind, a, alpha=TINY)) + microseconds(lambda: axolotl.swiglu_backward(grad, gate, up)),
    )
    print("microseconds of add_dropped, swiglu, swiglu_backward\n  before         ", *(f"{one:6.0f}" for one in before))
    for rows, columns, warps in TILES if args.tiles else (tuple(thin.TILE.values()),):
        thin.TILE.update(rows=rows, columns=columns, num_warps=warps)
        gate, up, grad = (some(TOKENS, INNER) for _ in range(3))
        now = (
            microseconds(lambda: thin.add_dropped(total, left, right, mask, 0.0)),
            microseconds(lambda gate=gate, up=up: thin.swiglu(gate, up, narrow, b, 0.0)),
            microseconds(lambda grad=grad, gate=gate, up=up: thin.swiglu_backward(grad, gate, up, behind, a, 0.0)),
        )
        print(f"  {rows:>3} x {columns:>3}, {warps} warps", *(f"{one:6.0f}" for one in now))


if __name__ == "__main__":
    main()
