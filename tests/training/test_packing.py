"""How rows are packed: Axolotl's own sampler, with and without the kit's plugin."""

from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from axolotl.utils.samplers import multipack
from torch.utils.data import SequentialSampler

from preflight.training.plugin.packing import fork_for_groups

LENGTHS = np.random.default_rng(0).integers(100, 900, 300)


@pytest.fixture
def plain(monkeypatch):
    """Axolotl's own function, before and after."""
    monkeypatch.setattr(multipack, "pack_parallel", getattr(multipack.pack_parallel, "__wrapped__", multipack.pack_parallel))


@pytest.fixture
def pools(monkeypatch):
    """How many processes each pool was made of."""
    made = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, max_workers=None, **more):
            made.append(max_workers)
            super().__init__(max_workers=max_workers, **more)

    monkeypatch.setattr(multipack, "ProcessPoolExecutor", Pool)
    return made


def packs(group_size, processes=4):
    sampler = multipack.MultipackBatchSampler(
        SequentialSampler(range(len(LENGTHS))),
        lengths=LENGTHS,
        batch_max_len=2_048,
        batch_size=1,
        group_size=group_size,
        bin_size=200,
        num_processes=processes,
        num_count_samples=1,
    )
    return list(sampler)


@pytest.mark.parametrize(("group_size", "processes"), [(100_000, []), (200, [2, 2])])
def test_the_packs_are_axolotls_and_no_process_is_forked_in_vain(plain, pools, group_size, processes):
    expected = packs(group_size, processes=1)
    assert pools == []
    fork_for_groups()
    assert packs(group_size) == expected
    assert pools == processes


def kinds_after(task):
    """Of types that this process has the function compiled for, with those of this task."""
    multipack._process_group(task)
    return len(multipack.pack_group.signatures)


def test_a_forked_process_compiles_nothing_anew(plain):
    fork_for_groups()
    packs(200)
    assert len(multipack.pack_group.signatures) == 1
    with ProcessPoolExecutor(1, mp_context=multipack.get_context("fork")) as pool:
        task = LENGTHS.astype(np.int32)[:200], 0, 2_048, 200, 200, True
        assert pool.submit(kinds_after, task).result() == 1
