"""Benchmarks of training speed, of the latency from frame to label, and of samplers on test problems.

- `time_net`: times of the forward pass of one image
- `Problem`: a function to minimise
- `run_study`: one run of a sampler on a problem
- `training_rates`: images per second of `fer train` beside a bare PyTorch loop
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
