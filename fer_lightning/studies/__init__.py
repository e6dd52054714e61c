"""Studies: grids of runs, compared with the table of a paper, as Markdown, HTML and figures.

- `StudyDefinition`: rows, metrics and published table of a study
- `StudyReport`: comparison tables, figures and conditions of a study
- `build_study`: computes the report of a study from its run records
- `build_comparison`: table of published and measured scores
- `judge`: whether a published difference is confirmed
- `write_study`: writes a report with its tables and figures
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
