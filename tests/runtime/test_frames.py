"""Data frames, where pandas is installed."""

from __future__ import annotations

import sys

import pytest

from braincli.errors import UsageError
from braincli.runtime.frames import dataframe


def test_rows_become_lines_and_none_a_missing_value() -> None:
    pytest.importorskip("pandas")
    frame = dataframe([{"case": "a", "dsc": 0.5}, {"case": "b", "dsc": None}], ["case", "dsc", "note"])
    assert list(frame.columns) == ["case", "dsc", "note"] and len(frame) == 2
    assert frame["dsc"].isna().tolist() == [False, True] and frame["dsc"].dtype == float
    assert list(dataframe([], ["case"]).columns) == ["case"]


def test_without_pandas_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="A data frame needs pandas") as caught:
        dataframe([], ["case"])
    assert "pip install pandas" in caught.value.hint
