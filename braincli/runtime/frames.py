"""Tables for those who have pandas; braincli does without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from braincli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def dataframe(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """``rows`` as a data frame with ``columns``, which are there without rows, too; None becomes a missing value.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise UsageError(
            "A data frame needs pandas, which is not installed.", "Install it: pip install pandas."
        ) from None
    return pd.DataFrame([{name: row.get(name) for name in columns} for row in rows], columns=list(columns))
