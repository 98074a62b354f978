"""The layers as one CUDA graph. A graph itself needs a GPU (benchmarks/gpu_training.py): here a stand-in keeps what it is given in fixed places."""

import logging
import re

import pytest
import torch
from axolotl.utils.dict import DictDefault
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import MistralConfig, MistralForCausalLM

from preflight.training.plugin import graphs, packing

POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]])


def captured(function, samples):
    """`torch.cuda.make_graphed_callables`: inputs are copied to where the samples lie, unless they lie there; results and gradients stay where
    the first ones were written."""
    with torch.enable_grad():
        places = function(*samples)
    static, gradients = places.detach().clone(), [torch.zeros_like(one) if one.requires_grad else None for one in samples]

    class Replay(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *given):
            for place, one in zip(samples, given, strict=True):
                assert place.shape == one.shape
                if place.data_ptr() != one.data_ptr():
                    place.data.copy_(one)
            with torch.enable_grad():
                ctx.found = function(*samples)
            static.copy_(ctx.found.detach())
            return static.detach()

        @staticmethod
        def backward(ctx, grad):
            found = iter(torch.autograd.grad(ctx.found, [one for one in samples if one.requires_grad], grad))
            return tuple(place if place is None else place.copy_(next(found)) for place in gradients)

    return lambda *given: Replay.apply(*given)


@pytest.fixture
def stand_in(monkeypatch):
    """What was asked to be captured."""
    asked = []
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda function, samples: asked.append(samples) or captured(function, samples))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state: None)
    packing.share_packing()
    return asked


@pytest.fixture
def model():
    torch.manual_seed(0)
    shape = MistralConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=32,
        attn_implementation="eager",
    )
    model = get_peft_model(MistralForCausalLM(shape), LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, one in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(one, std=0.1)
    return model.train()


def through(model, hidden, positions=POSITIONS, mask=None):
    """What the layers make of it, one after the other as the model runs them."""
    inner = model.get_decoder() if hasattr(model, "get_decoder") else model.model
    tables = inner.rotary_emb(hidden, positions)
    for layer in inner.layers:
        hidden = layer(hidden, attention_mask=mask, position_ids=positions, position_embeddings=tables, use_cache=False)
    return hidden


def learnt(model, hidden):
    model.zero_grad()
    found = through(model, hidden)
    found.sin().sum().backward()
    return found.detach().clone(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def graphed(model):
    graphs.Graph(list(model.get_decoder().layers), 8)
    return model.get_decoder().layers[0].forward.func.__self__


def test_the_layers_give_and_learn_what_they_did(stand_in, model):
    hidden = torch.randn(2, 1, 8, 32)
    expected = [learnt(model, one) for one in hidden]
    graph = graphed(model)
    for one, (result, gradients) in zip(hidden, expected, strict=True):
        found, own = learnt(model, one)
        torch.testing.assert_close(found, result)
        assert own.keys() == gradients.keys()
        assert len(own) == 12
        for name in own:
            torch.testing.assert_close(own[name], gradients[name])
    assert len(stand_in) == 1, "captured once"
    assert graph.starts[:4].tolist() == [0, 3, 8, 8], "where rows begin, and the end for what is free"
    assert set(graph.starts[3:].tolist()) == {8}


def test_a_capture_sees_none_of_the_parameters_themselves(stand_in, model):
    """DDP hangs a hook on each; its node, made on another stream, would end a capture. The memory is the same, so that a step's change is seen."""
    graphed(model)
    before, _ = learnt(model, torch.ones(1, 8, 32))
    trained = [one for one in model.parameters() if one.requires_grad]
    samples = stand_in[0][3:]
    assert [one.data_ptr() for one in samples] == [one.data_ptr() for one in trained]
    assert not any(one is other for one, other in zip(samples, trained, strict=True))
    with torch.no_grad():
        for one in trained:
            one.mul_(2)
    assert not torch.allclose(before, learnt(model, torch.ones(1, 8, 32))[0])


@pytest.mark.parametrize(
    ("hidden", "positions", "mask", "why"),
    [
        (torch.ones(1, 8, 32), POSITIONS, torch.zeros(1, 1, 8, 8), "not packed"),
        (torch.ones(1, 8, 32), torch.arange(8)[None], None, "not packed"),
        (torch.ones(1, 6, 32), POSITIONS[:, :6], None, r"of \(1, 6\) tokens, not of \(1, 8\)"),
        (torch.ones(1, 100, 32), torch.zeros(1, 100, dtype=torch.long), None, "tokens"),
    ],
)
def test_what_does_not_fit_is_run_as_ever_and_said_once(stand_in, model, caplog, hidden, positions, mask, why):
    expected = through(model, hidden, positions, mask).detach()
    graphed(model)
    through(model, torch.ones(1, 8, 32))
    for _ in range(2):
        torch.testing.assert_close(through(model, hidden, positions, mask), expected)
    (said,) = caplog.messages
    assert said.startswith("cuda_graphs: a step is run without them: it")
    assert re.search(why, said)


def test_more_rows_than_there_is_room_for(stand_in, model, caplog, monkeypatch):
    monkeypatch.setattr(graphs, "ROWS", 1)
    graphed(model)
    through(model, torch.ones(1, 8, 32))
    assert caplog.messages == ["cuda_graphs: a step is run without them: it holds 2 rows, more than 1"]
    assert stand_in == []


def test_an_evaluation_is_no_graph_and_no_matter(stand_in, model, caplog):
    graphed(model)
    with torch.no_grad():
        through(model, torch.ones(1, 8, 32))
    through(model.eval(), torch.ones(1, 8, 32))
    assert (stand_in, caplog.messages) == ([], [])


def test_a_capture_that_fails_costs_no_run(stand_in, model, caplog, monkeypatch):
    def fails(function, samples):
        stand_in.append(samples)
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture\nand more")

    expected = learnt(model, torch.ones(1, 8, 32))
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fails)
    graphed(model)
    for _ in range(2):
        found = learnt(model, torch.ones(1, 8, 32))
        torch.testing.assert_close(found, expected)
    assert len(stand_in) == 1, "tried once"
    assert caplog.messages == [
        "cuda_graphs: a step is run without them: they could not be captured: CUDA error: operation failed due to a previous error during capture"
    ]
    assert packing._pinned is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"gradient_accumulation_steps": 2}, "a step adds up the gradients of several batches (gradient_accumulation_steps)"),
        ({"gradient_checkpointing": True}, "gradient_checkpointing computes layers again"),
    ],
)
def test_configs_that_are_no_graph(monkeypatch, model, caplog, changes, why):
    cfg = DictDefault({"gradient_accumulation_steps": 1, "attn_implementation": "sdpa", "sample_packing": True, "sequence_len": 8} | changes)
    plain = model.get_decoder().layers[0].forward
    graphs.use_graphs(model, cfg)
    assert caplog.messages == ["cuda_graphs: they are left off: there is no GPU"]
    assert model.get_decoder().layers[0].forward == plain
    caplog.clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    graphs.use_graphs(model, cfg)
    assert caplog.messages == ([f"cuda_graphs: they are left off: {why}"] if why else [])
    assert hasattr(model.get_decoder().layers[0].forward, "func") == (not why)


@pytest.fixture(autouse=True)
def heard(caplog):
    """Axolotl's logging, where it was imported, keeps what is below its level."""
    caplog.set_level(logging.WARNING, logger="preflight.training.plugin.graphs")
