"""Attributes of the people on the images, such as gender, by image: those of a release, or those of a table."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fer_lightning.data.labels import GROUPS
from fer_lightning.data.samples import ImageFiles, Samples, listing_key
from fer_lightning.data.text_tables import column_places, plain_name, read_rows, shown
from fer_lightning.errors import UserError, require_known

_EXPECTED = "a table with the column image and one column for each attribute"
_MOST_GROUPS = 20
_LONGEST_NAME = 100  # characters


def read_attributes(
    samples: Samples, ids: Sequence[str], groups: str = "all", table: str | None = None
) -> pd.DataFrame:
    """Attributes of the people on the images of a data set.

    Args:
        samples: Rows of the data set.
        ids: Ids of the images.
        groups: Name of an attribute, or `"all"`.
        table: CSV file with the column `image` (the id, the path or the name of a file; its ending does not count) and
            a column for each attribute, empty where it is not known; None for the attributes of the release.

    Returns:
        By id, a categorical column for each attribute; NaN where it is not known.

    Raises:
        UserError: The release has no attributes, the attribute is unknown, or the table cannot be used.

    Example:
        >>> from fer_lightning.data import RAFDB
        >>> data = RAFDB(root="data/rafdb", val_fraction=0.34)
        >>> data.setup()
        >>> read_attributes(data.samples, ["test_00001", "test_00002"])
                    gender              race    age
        test_00001  female         Caucasian   4-19
        test_00002    male  African-American  20-39
    """
    if table is not None:
        attributes = _read_table(Path(table).expanduser(), samples).reindex(ids)
    elif samples.attributes is None:
        raise UserError(
            f"groups={groups}: the release ({samples.release}) has no attributes of the people on its images; RAF-DB's "
            "manual annotation has: add attributes=people.csv with the column image and one for each attribute."
        )
    else:
        attributes = samples.attributes(ids)
    if groups in GROUPS and groups not in attributes:
        raise UserError(f"groups={groups} must be an attribute of people; groups of classes are data.groups={groups}.")
    require_known("groups", groups, ("all", *attributes))
    chosen = attributes if groups == "all" else attributes[[groups]]
    if empty := [name for name in chosen if chosen[name].isna().all()]:
        raise UserError(f"groups={groups} needs images whose {empty[0]} is known; it is known of none of {len(ids)}.")
    return chosen


def _read_table(path: Path, samples: Samples) -> pd.DataFrame:
    header, *rows = read_rows(path)
    place = column_places(path, header, ("image",), _EXPECTED)[0]
    names = [plain_name(name) for name in header]
    others = [name for name in names if name != "image"]
    if not others or not all(others) or len(set(others)) < len(others) or "all" in others:
        raise UserError(f"{path} must have a column with a name of its own for each attribute; got {', '.join(names)}.")
    known = _ids_by_name(samples)
    values: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path} row {number}"
        if len(row) != len(header):
            raise UserError(f"{where}: {len(row)} fields, expected {len(header)}: correct it.")
        ids = known.get(_plain(row[place]), set())
        if len(ids) > 1:
            raise UserError(
                f"{where}: {shown(row[place])} names several images: use the ids {' and '.join(sorted(ids)[:2])}."
            )
        for image in ids:
            if image in values:
                raise UserError(f"{where}: the image {shown(row[place])} is listed twice: keep one row.")
            values[image] = {name: value for name, value in zip(names, row) if name != "image"}
    if not values:
        raise UserError(
            f"{path} must name images of the data in its column image, such as {samples.frame['id'].iloc[0]}; none "
            f"of its {len(rows)} rows does."
        )
    attributes = pd.DataFrame.from_dict(values, orient="index").replace("", None)
    for name in others:
        groups = attributes[name].dropna().unique()
        if len(groups) > _MOST_GROUPS:
            raise UserError(
                f"{path}: the column {name} must have at most {_MOST_GROUPS} different values; got {len(groups)}: "
                "write ranges such as 20-39, or omit the column."
            )
        if odd := [value for value in (name, *groups) if not value.isprintable() or len(value) > _LONGEST_NAME]:
            raise UserError(
                f"{path}: {shown(odd[0])} must be at most {_LONGEST_NAME} printable characters: correct it."
            )
    return attributes.astype("category")


def _ids_by_name(samples: Samples) -> dict[str, set[str]]:
    """Ids of the images by the names under which a table may list them."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    ids = samples.frame["id"].tolist()
    paths = samples.reader.paths if isinstance(samples.reader, ImageFiles) else ids
    for image, path in zip(ids, paths):
        for name in (image, path, os.path.basename(path)):  # noqa: PTH119 (a Path for each of 300,000 files is slow)
            known[_plain(name)].add(image)
    return known


def _plain(name: str) -> str:
    return os.path.splitext(listing_key(name))[0]  # noqa: PTH122 (as above)
