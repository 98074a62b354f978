"""Attention over packed rows whose query heads share keys and values. The kernel itself needs a GPU: here it is written out in torch."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import varlen

from preflight.training.plugin import attention
from preflight.training.plugin.packing import share_packing

POSITIONS = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]])


class OnGpu(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    is_cuda = True


def written_out(query, key, value, starts, ends, longest, _, *, window_size, enable_gqa=False):
    """torch's varlen_attn: of each row of tokens, those before and the token itself, `window_size[0]` back at most."""
    assert key.shape[1] < query.shape[1], "as they are, not repeated"
    assert torch.equal(starts, ends)
    assert longest == 5
    query, key, value = (one.as_subclass(torch.Tensor) for one in (query, key, value))
    shared = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    row = torch.bucketize(torch.arange(len(query)), starts, right=True)
    back = torch.arange(len(query))[:, None] - torch.arange(len(query))[None]
    seen = (row[:, None] == row[None]) & (back >= 0) & ((window_size[0] < 0) | (back <= window_size[0]))
    scores = torch.einsum("qhd,khd->hqk", query, key) * query.shape[-1] ** -0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), value)


@pytest.fixture
def theirs():
    def attention(module, query, key, value, attention_mask, **rest):
        return "theirs", rest

    return attention


@pytest.fixture
def grouped(theirs, monkeypatch):
    share_packing()
    monkeypatch.setattr(varlen, "varlen_attn", written_out)
    return attention.grouped(theirs)


def heads(count, dtype=torch.bfloat16):
    return torch.randn(2, count, 5, 8).to(dtype).as_subclass(OnGpu)


@pytest.mark.parametrize("window", [None, 2])
def test_each_token_sees_its_own_row(grouped, window):
    """As transformers' attention gives it for each row of tokens by itself."""
    query, key, value = heads(4), heads(2), heads(2)
    found, none = grouped(SimpleNamespace(sliding_window=window), query, key, value, None, position_ids=POSITIONS, scaling=8**-0.5)
    assert none is None
    assert found.shape == (2, 5, 4, 8)
    for sequence, first, last in ((0, 0, 3), (0, 3, 5), (1, 0, 5)):
        own = [
            one.as_subclass(torch.Tensor)[sequence : sequence + 1, :, first:last].repeat_interleave(4 // one.shape[1], 1)
            for one in (query, key, value)
        ]
        back = torch.arange(last - first)[:, None] - torch.arange(last - first)[None]
        mask = (back >= 0) & (back < (window or 9))
        expected = torch.nn.functional.scaled_dot_product_attention(*own, attn_mask=mask).transpose(1, 2)[0]
        torch.testing.assert_close(found[sequence, first:last].float(), expected.float(), atol=0.03, rtol=0.03)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": heads(4), "value": heads(4)},
        {"attention_mask": torch.ones(1)},
        {"dropout": 0.1},
        {"scaling": 0.5},
        {"position_ids": None},
        {"position_ids": torch.arange(5).repeat(2, 1)},
        {"query": heads(4, torch.float32)},
        {"query": torch.randn(2, 4, 5, 8).bfloat16()},
    ],
    ids=["as many keys", "a mask", "dropout", "another scale", "no positions", "not packed", "32 bits", "no GPU"],
)
def test_what_does_not_fit_is_axolotls(grouped, changes):
    given = {"query": heads(4), "key": heads(2), "value": heads(2), "attention_mask": None, "position_ids": POSITIONS} | changes
    found, rest = grouped(SimpleNamespace(), **given)
    assert found == "theirs"
    assert rest["position_ids"] is given["position_ids"]
    assert (rest["dropout"], rest["scaling"]) == (changes.get("dropout", 0.0), changes.get("scaling"))


def test_it_is_put_where_axolotls_is_and_once(theirs, monkeypatch):
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    try:
        ALL_ATTENTION_FUNCTIONS.register("sdpa", theirs)
        attention.share_heads()
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is theirs, "another attention than Axolotl's varlen"
        theirs._axolotl_sdpa_original = before
        attention.share_heads()
        once = ALL_ATTENTION_FUNCTIONS["sdpa"]
        attention.share_heads()
        assert once is ALL_ATTENTION_FUNCTIONS["sdpa"] is not theirs
        assert once._axolotl_sdpa_original is before, "Axolotl puts it back by this"
    finally:
        ALL_ATTENTION_FUNCTIONS.register("sdpa", before)
