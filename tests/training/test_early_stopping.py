from __future__ import annotations

from types import SimpleNamespace

import pytest

from fer_lightning.training.early_stopping import EarlyStopping


@pytest.mark.parametrize(("waited", "stopped"), [(0, False), (1, False), (2, True)])
def test_what_had_stopped_stays_stopped(waited, stopped):
    callback = EarlyStopping("val/accuracy", "max", patience=2)
    callback.load_state_dict({**callback.state_dict(), "wait_count": waited})
    trainer = SimpleNamespace(should_stop=False)
    callback.on_train_start(trainer, None)
    assert trainer.should_stop is stopped
