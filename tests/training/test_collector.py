"""What is kept out of the garbage collector, and what is not."""

import gc
import weakref

from preflight.training.plugin.collector import set_aside


class Ring:
    def __init__(self):
        self.me = self


def test_what_lives_is_set_aside_and_garbage_is_not_kept():
    kept, lost = Ring(), Ring()
    gone = weakref.ref(lost)
    del lost
    try:
        set_aside()
        assert gone() is None
        assert gc.get_freeze_count() > 0
        assert not any(one is kept for one in gc.get_objects())
        later = Ring()
        assert any(one is later for one in gc.get_objects())
    finally:
        gc.unfreeze()
