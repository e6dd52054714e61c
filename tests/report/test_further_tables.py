from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.report.further_tables import further_table
from fer_lightning.studies.definition import FurtherTable

PUBLISHED = pd.DataFrame(
    [
        ("Table 11", "ResNet Model", "accuracy", "not stated", 95.37, "%"),
        ("Table 11", "Proposed Model", "accuracy", "not stated", 96.5, "%"),
        ("Table 11", "ResNet Model", "standard deviation", "not stated", 0.18, "%"),
        ("Table 11", "Proposed Model", "standard deviation", "not stated", 0.12, "%"),
        ("Table 12", "Proposed vs. ResNet", "p-value", "not stated", 0.0057, ""),
        ("Table 12", "Proposed vs. ViT", "p-value", "not stated", 0.0012, ""),
    ],
    columns=["table", "row", "metric", "dataset", "value", "unit"],
)
LEDGER = pd.DataFrame(
    {
        "variant": ["resnet", "psysfa_net", np.nan],
        "mean": [0.65432, 0.67, np.nan],
        "sd": [0.0123, np.nan, np.nan],
        "p_holm": [0.00004, np.nan, np.nan],
        "test": ["paired t, 3 seeds", None, None],
        "n_seeds": [3, 1, 0],
    }
)


def test_spreads_beside_published_ones():
    rows = {"ResNet Model": "resnet", "Proposed Model": "psysfa_net"}
    table = further_table(
        FurtherTable("Table 11", {"accuracy": "mean", "standard deviation": "sd"}, rows), PUBLISHED, LEDGER
    )
    assert table.to_dict("records") == [
        {
            "row": "ResNet Model",
            "published accuracy, as a claim": "95.37 %",
            "measured mean": "65.43 %",
            "published standard deviation, as a claim": "0.18 %",
            "measured sd": "1.23 %",
            "seeds": "3",
        },
        {
            "row": "Proposed Model",
            "published accuracy, as a claim": "96.5 %",
            "measured mean": "67.00 %",
            "published standard deviation, as a claim": "0.12 %",
            "measured sd": "-",
            "seeds": "1",
        },
    ]


def test_p_values_tell_their_test():
    rows = {"Proposed vs. ResNet": "resnet", "Proposed vs. ViT": "vit"}
    table = further_table(FurtherTable("Table 12", {"p-value": "p_holm"}, rows), PUBLISHED, LEDGER)
    assert table["published p-value, as a claim"].tolist() == ["0.0057", "0.0012"]
    assert table["measured p (Holm)"].tolist() == ["< 0.0001", "not run"]
    assert table["test"].tolist() == ["paired t, 3 seeds", "-"]


@pytest.mark.parametrize(
    ("columns", "rows", "told"),
    [
        ({"p-value": "median"}, {}, "cannot show median: choose from mean, sd, p, p_holm"),
        ({"p-value": "p"}, {"Proposed vs. GAN": "gan"}, "Table 12 has no p-value of 'Proposed vs. GAN'"),
        ({"accuracy": "mean"}, {}, "no accuracy in Table 12"),
    ],
)
def test_what_is_wrong_is_told(columns, rows, told):
    with pytest.raises(UserError, match=told):
        further_table(FurtherTable("Table 12", columns, rows), PUBLISHED, LEDGER)
