"""Studies: grids of runs, set beside the table of a paper, as Markdown, HTML and figures.

- `StudyDefinition`: what a study compares and which published table it reproduces
- `StudyReport`: everything that a study found
- `build_study`: computes the report of a study from its run records
- `build_ledger`: the table of a study: published and measured scores
- `judge`: whether a published difference is confirmed
- `write_study`: writes a report with its tables and figures
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
