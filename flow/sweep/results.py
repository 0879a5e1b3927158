"""What a sweep has found so far, read from its file."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flow.results.files import write_text
from flow.sweep.runs import PARAMETERS, RESULTS, ratios
from flow.sweep.store import COLUMNS, read_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import xarray

Row = Mapping[str, Any]
"""One run: the columns of :data:`flow.sweep.store.COLUMNS`, None where there is no value, and
m_over_n and lam_sqrt_m_over_c, which follow from them."""

RATIOS = ("m_over_n", "lam_sqrt_m_over_c")
BLOBS = ("trace", "winners")
EXPORTED = (
    "hash",
    *PARAMETERS,
    *RATIOS,
    "status",
    "message",
    "finished",
    *(name for name in RESULTS if name not in BLOBS),
)
"""Columns of the CSV: what the parameters alone decide, and neither timings nor history."""
_SEEDLESS = tuple(name for name in PARAMETERS if name != "seed")


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """The rows of a sweep, as they were when it was read."""

    path: Path
    rows: Sequence[Row]
    """Every run, sorted by hash, the pending and the failed ones too."""
    software: Mapping[int, Mapping[str, str]]
    """Versions, code and machine that made the rows, by the number in their column `software`."""

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.counts().items())
        cells = len(self.cells())
        return (
            f"<Sweep {self.path.name}: {len(self.rows)} runs ({counts or 'none'}) in {cells} "
            f"cell{'' if cells == 1 else 's'} of equal parameters>"
        )

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each run with the columns EXPORTED; needs the extra ``data``.

        Raises ImportError naming the extra if pandas is missing.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas: pip install 'incidental-flow[data]'"
            ) from error
        return pandas.DataFrame([{name: row[name] for name in EXPORTED} for row in self.rows])

    @property
    def finished(self) -> list[Row]:
        """Runs that got where they were sent."""
        return [row for row in self.rows if row["finished"]]

    def published_software(self) -> dict[int, dict[str, str]]:
        """`software` without the name of the host, for a table that others read."""
        return {
            number: {name: text for name, text in about.items() if name != "host"}
            for number, about in self.software.items()
        }

    def counts(self) -> dict[str, int]:
        """Number of runs of each status, the commonest first."""
        return dict(Counter(str(row["status"]) for row in self.rows).most_common())

    def cells(self) -> dict[tuple[Any, ...], list[Row]]:
        """Runs that differ in their seeds only, by their other parameters, in growing order."""
        found: dict[tuple[Any, ...], list[Row]] = {}
        order = sorted(self.rows, key=lambda row: [_sortable(row[name]) for name in PARAMETERS])
        for row in order:
            found.setdefault(tuple(row[name] for name in _SEEDLESS), []).append(row)
        return found

    def to_csv(self) -> str:
        """A table with the columns EXPORTED, sorted by hash: the same bytes for the same runs."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(EXPORTED)
        for row in self.rows:
            writer.writerow("" if row[name] is None else row[name] for name in EXPORTED)
        return text.getvalue()

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_csv` to `path`, aside first and then renamed into place."""
        write_text(path, self.to_csv())

    def to_xarray(self) -> xarray.Dataset:
        """The sweep as a labelled dataset along `run`; needs the extra ``data``.

        Parameters and ratios are coordinates:
        ``ds.set_index(run=["n", "m_over_n", "lam_sqrt_m_over_c", "seed"]).unstack("run")`` makes a
        grid of them. `trace` is (run, quantity, point), `winner` and `initial_rank` are
        (run, feature), filled up with NaN and 0. Raises ImportError naming the extra if xarray is
        missing.
        """
        try:
            import xarray
        except ImportError as error:
            raise ImportError(
                "to_xarray needs xarray: pip install 'incidental-flow[data]'"
            ) from error
        import numpy as np

        kinds = {name: declared.split()[0] for name, declared in COLUMNS.items()}
        kinds |= dict.fromkeys(RATIOS, "REAL")
        columns = {name: [row[name] for row in self.rows] for name in kinds}
        data: dict[str, Any] = {
            name: ("run", _array(values, kinds[name]))
            for name, values in columns.items()
            if name not in BLOBS
        }
        traces = [trace(row) for row in self.rows]
        winners = [winners_of(row) for row in self.rows]
        data["trace"] = (("run", "quantity", "point"), _filled(traces, 3, np.nan, np.float32))
        both = _filled(winners, 2, 0, np.int32)
        data["winner"] = (("run", "feature"), both[:, 0])
        data["initial_rank"] = (("run", "feature"), both[:, 1])
        dataset = xarray.Dataset(data, coords={"quantity": ["time", "nonzeros", "l1"]})
        return dataset.set_coords(["hash", *PARAMETERS, *RATIOS])


def load(path: str | os.PathLike[str]) -> Sweep:
    """Read the file of a sweep, finished or not, also while it runs.

    Raises InputError if it is missing or is no sweep.
    """
    rows, software = read_rows(path)
    rows = [row | ratios(row) for row in rows]
    return Sweep(Path(path), rows, {k: json.loads(about) for k, about in software.items()})


def trace(row: Row) -> np.ndarray:
    """(3, k) float32: flow time, mean non-zeros per feature, mean ‖W_i‖₁; k = 0 without a result.

    At most :data:`flow.sweep.runs.TRACE_POINTS` accepted steps, first and last among them.
    """
    import numpy as np

    return np.frombuffer(row["trace"] or b"", "<f4").reshape(3, -1)


def winners_of(row: Row) -> np.ndarray:
    """(2, n) int32: sign·(neuron + 1) of each feature's winner, 0 if dead; its initial rank.

    (2, 0) for a run without a result, or whose weights were not finite.
    """
    import numpy as np

    packed = row["winners"]
    return np.frombuffer(zlib.decompress(packed) if packed else b"", "<i4").reshape(2, -1)


def _filled(parts: Sequence[np.ndarray], width: int, fill: float, dtype: Any) -> np.ndarray:
    import numpy as np

    longest = max((part.shape[1] for part in parts), default=0)
    whole = np.full((len(parts), width, longest), fill, dtype)
    for k, part in enumerate(parts):
        whole[k, :, : part.shape[1]] = part
    return whole


def _array(values: Sequence[Any], kind: str) -> np.ndarray:
    """Numbers as floats where some are missing, else as what they are."""
    import numpy as np

    if kind == "TEXT":
        return np.array(["" if value is None else value for value in values], dtype=np.str_)
    if kind == "REAL" or any(value is None for value in values):
        return np.array([math.nan if value is None else value for value in values], dtype=float)
    return np.array(values, dtype=np.int64)


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else value)
