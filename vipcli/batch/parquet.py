"""Write rows as a Parquet file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vipcli.batch import durable
from vipcli.batch.rows import COLUMNS, Row, cell_text, extra_column_titles, field_columns, flatten

_NUMBER_TYPES = {"probability": "float64", "width": "int64", "height": "int64"}
"""Arrow types of the number columns; all others are text."""
_ROWS_PER_GROUP = 10_000


def write_parquet(
    rows: Iterable[Row], extra_columns: Sequence[str], target: Path, fields: Sequence[str] = ()
) -> None:
    """Write a Parquet file, atomically."""
    import pyarrow
    from pyarrow import parquet

    extra_titles = extra_column_titles(extra_columns, fields)
    names = [*COLUMNS, *field_columns(fields), *map(cell_text, extra_titles.values())]
    schema = pyarrow.schema([(name, _NUMBER_TYPES.get(name, "string")) for name in names])
    path = Path(os.path.realpath(target))
    try:
        with durable.temporary_beside(path) as temporary:
            with temporary.open("xb") as file:
                with parquet.ParquetWriter(file, schema) as writer:
                    for group in _groups(rows):
                        cells = [
                            dict(zip(names, _cells(row, extra_titles, fields), strict=True)) for row in group
                        ]
                        writer.write_table(pyarrow.Table.from_pylist(cells, schema))
                durable.sync(file)
            durable.replace_durably(temporary, path)
    except OSError as error:
        raise durable.write_error(error, repr(str(target)), path) from error


def _cells(row: Row, extra_titles: Mapping[str, str], fields: Sequence[str]) -> list[Any]:
    return [
        value if name in _NUMBER_TYPES or value is None else cell_text(value)
        for name, value in flatten(row, extra_titles, fields).items()
    ]


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while group := list(islice(remaining, _ROWS_PER_GROUP)):
        yield group
