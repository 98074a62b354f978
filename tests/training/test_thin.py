"""The kernels that add a thin product on the way: what torch gives in as many passes as there are operations."""

import json
import sys

import pytest
import torch
from torch import nn

from preflight.training.plugin import thin
from tests.conftest import CHECKOUT, in_this_environment, run


def test_tritons_kernels_give_what_torch_gives():
    """In its interpreter, for sizes that fill no tile, and ranks below and above what a matrix unit takes."""
    env = in_this_environment() | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = run(sys.executable, CHECKOUT / "tests/support/thin_products.py", cwd=CHECKOUT, env=env)
    assert done.code == 0, done.err[-3000:]
    answer = json.loads(done.out.splitlines()[-1])
    assert len(answer) == 3
    assert all(found.keys() == {"add_dropped", "swiglu", "swiglu_backward"} for found in answer.values())
    assert max(value for found in answer.values() for value in found.values()) < 2e-4, answer


def test_swiglu_and_its_gradients_are_autograds():
    gate, up, left, b = (torch.randn(*size, dtype=torch.float64) for size in ((5, 12), (5, 12), (5, 4), (12, 4)))
    whole = [(one + 2.0 * left @ b.t()).requires_grad_() for one in (gate, up)]
    hidden = nn.functional.silu(whole[0]) * whole[1]
    torch.testing.assert_close(thin.swiglu(gate, up, (left, left), (b, b), 2.0), hidden.detach())
    grad, behind, a = torch.randn(5, 12, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64), torch.randn(4, 12, dtype=torch.float64)
    expected = torch.autograd.grad(hidden, whole, grad + 0.5 * behind @ a)
    again, *found = thin.swiglu_backward(grad, gate, up, behind, a, 0.5)
    torch.testing.assert_close(again, hidden.detach())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert (again.data_ptr(), *(one.data_ptr() for one in found)) == (grad.data_ptr(), gate.data_ptr(), up.data_ptr()), "in their memory"


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_only_what_dropout_kept_comes_back(kept):
    total, left, right = torch.randn(6, 8), torch.randn(6, 3), torch.randn(3, 8)
    mask = torch.rand(6, 8) < kept
    expected = total + 1.5 * mask * (left @ right)
    torch.testing.assert_close(thin.add_dropped(total, left, right, mask, 1.5), expected)
