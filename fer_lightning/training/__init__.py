"""Training with PyTorch Lightning: the module, its callbacks, and its checkpoints.

- `ExpressionClassifier`: the LightningModule around any architecture
- `AdversarialAugmentation`: a GAN first, then the classifier on real and generated images
- `VoteFitting`: fits the weights of `WeightedVoting` on validation
- `BestCheckpoint`: keeps the weights of the best epoch in `best.ckpt`
- `LastCheckpoint`: keeps the state of the last epoch in `last.ckpt`
- `EarlyStopping`: stops when the validation score no longer improves
- `History`: collects one row of scalars an epoch
- `Mixing`: mixup and CutMix of a batch
- `one_cycle`: learning rate in one cycle
- `plateau`: learning rate that falls when the validation loss does not
- `warmup_cosine`: learning rate that rises linearly and falls along a cosine
- `TrainedNet`: a network with its classes, preprocessing and record
- `load_net`: reads a trained network from a file or a run folder
- `save_net`: writes a trained network as safetensors
- `MLflowRunLogger`: logs one training to one MLflow run
- `WandbRunLogger`: logs one training to one W&B run
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
