"""What a study found, ready to be shown: the command writes it as files, a page and a W&B run."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class StudyReport:
    """What a study found.

    Attributes:
        name: Of the study, for example `psysfa_table6`.
        title: For readers, for example `"Table 6: What each component contributes"`.
        facts: What a reader must know, in order, by heading: data, protocol, budget, seeds, images, hardware, commit.
        command: What runs it, without paths of a machine.
        ledgers: By published metric, the headline first; each as `build_ledger` returns it.
        reference: Title of the row that the others are tested against, or None.
        figures: By file name without ending.
        captions: One sentence for each figure, by the same names.
        runs: One row a finished run: `run`, `variant`, `dataset`, `seed`, scores of the test split, `val/accuracy`,
            `best_epoch`, `train_seconds`, `parameters`, `commit`.
        unfinished: Runs of the grid that have no record yet, as their overrides.
        beside: Other tables of the same study that are no ledger, by title: numbers as text, ready to print.
        tables: Tables of other pictures than the test split, in Markdown by title; `figures` shows the same.
    """

    name: str
    title: str
    facts: dict[str, str]
    command: str
    ledgers: dict[str, pd.DataFrame]
    reference: str | None
    figures: dict[str, Figure]
    captions: dict[str, str]
    runs: pd.DataFrame
    unfinished: list[str]
    beside: dict[str, pd.DataFrame] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)

    def tested_against(self, metric: str) -> str | None:
        """Title of the row that the others of a ledger were tested against; None where it has no such row."""
        return self.reference if (self.ledgers[metric]["row"] == self.reference).any() else None
