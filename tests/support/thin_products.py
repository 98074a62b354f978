"""The kernels of preflight/training/plugin/thin.py as Triton's interpreter runs them (TRITON_INTERPRET=1), beside the same in torch.

Writes how far each result is from the other, as JSON. The file is loaded by itself: its package would import Axolotl.
"""

import copy
import importlib.util
import json
import sys
from pathlib import Path

import torch

FILE = Path(__file__).resolve().parents[2] / "preflight/training/plugin/thin.py"
spec = importlib.util.spec_from_file_location("thin", FILE)
thin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(thin)


def apart(name, *given):
    """The largest difference of what one way and the other return, and leave in what they were given."""
    found = []
    for interpreted in (True, False):
        thin._interpreted = lambda answer=interpreted: answer
        mine = copy.deepcopy(given)
        found.append([*torch.utils._pytree.tree_leaves((getattr(thin, name)(*mine), mine))])
    return max(
        float((one - other).abs().max()) for one, other in zip(*found, strict=True) if isinstance(one, torch.Tensor) and one.is_floating_point()
    )


torch.manual_seed(0)
some = torch.randn
answer = {}
for m, n, k in ((70, 200, 8), (33, 130, 16), (64, 128, 48)):
    narrow = some(m, 2 * k).split(k, 1)
    answer[f"{m} x {n}, {k}"] = {
        "add_dropped": apart("add_dropped", some(m, n), some(m, k), some(k, n), torch.rand(m, n) > 0.1, 2.2),
        "swiglu": apart("swiglu", some(m, n), some(m, n), narrow, (some(n, k), some(n, k)), 2.0),
        "swiglu_backward": apart("swiglu_backward", some(m, n), some(m, n), some(m, n), some(m, k), some(k, n), 2.0),
    }
sys.stdout.write(json.dumps(answer))
