import os
import sys

from fer_lightning.training.saving import LastCheckpoint

from fer_lightning import cli

save = LastCheckpoint.on_train_epoch_end


def save_and_die(self, trainer, module):
    save(self, trainer, module)
    if trainer.current_epoch == 7:
        os._exit(137)


LastCheckpoint.on_train_epoch_end = save_and_die
sys.argv[0] = "fer"
cli.main()
