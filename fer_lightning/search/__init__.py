"""The Modified Bobcat Optimization Algorithm (MBOA) as an Optuna sampler, with its storage and report.

- `MBOASampler`: the sampler
- `RepeatableSampler`: makes the draws of any sampler depend on the trial's number and seed alone
- `open_storage`: the storage of a search: a file or a database
- `draw_search`: all figures of a search
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
