"""Which of several series is taken, when the user is asked, and what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom")

from braincli.errors import InputError
from braincli.imaging.contrast import Contrast
from braincli.imaging.dicom.choose import choose
from braincli.imaging.dicom.headers import Image, Parameters
from braincli.imaging.dicom.series import Series

T1, T1CE, T2, FLAIR = Contrast


def series(label: str, word: str, mm: float = 5.0, *, flaw: str = "", **parameters: Any) -> Series:
    told = Parameters("MR", int(label.rstrip("ab")), words=tuple(word.split()), **parameters)
    image = Image(None, 0, "", "", "", "", "", "", 1, 64, 64, False, told, None, None, None, 0)  # type: ignore[arg-type]
    return Series(label, (image,) * 20, np.diag([1.0, 1.0, mm, 1.0]), flaw=flaw)


def chosen(*several: Series, run: str | None = None, **wanted: str) -> dict[str, str]:
    choice = choose(several, {Contrast(name): label for name, label in wanted.items()}, run, "p")
    return {str(contrast): one.label for contrast, one in choice.series.items()}


def test_the_finest_is_taken_and_it_is_said() -> None:
    thick, fine, other = series("7", "t1 gd", 5.0), series("9", "t1 gd", 1.0), series("2", "swi")
    choice = choose([thick, fine, other], {}, None, "p")
    assert choice.series == {T1CE: fine}
    assert choice.words == (
        "p: t1ce is series 9 (1.0 x 1.0 x 1.0 mm, 20 slices; preferred to 7). Left out: 2 (named swi)."
    )


def test_original_whole_uncontrasted_and_corrected_ones_come_first() -> None:
    assert chosen(series("3", "t1"), series("4", "t1", 1.0, kind=("DERIVED", "SECONDARY", "MPR"))) == {"t1": "3"}
    assert chosen(series("3", "t1"), series("4", "t1", 1.0, flaw="2 of 22 slices are missing")) == {"t1": "3"}
    assert chosen(series("3", "flair"), series("4", "flair", agent=True)) == {"flair": "3"}
    assert chosen(series("3", "t2"), series("4", "t2", kind=("ORIGINAL", "PRIMARY", "M", "NORM"))) == {"t2": "4"}


def test_alike_ones_are_the_users_choice() -> None:
    twins = series("7", "t1 gd"), series("9", "t1 gd")
    with pytest.raises(InputError, match=r"p: 2 series could be t1ce \(7: 1.0 x 1.0 x 5.0 mm, 20 slices; 9: ") as error:
        chosen(*twins)
    assert "--series t1ce=9" in error.value.hint and "--run" in error.value.hint
    assert chosen(*twins, t1ce="7") == {"t1ce": "7"}
    assert chosen(*twins, run="last") == {"t1ce": "9"} == chosen(*twins, run="2")
    with pytest.raises(InputError, match="none is run 3"):
        chosen(*twins, run="3")


def test_a_series_can_be_chosen_for_anything_or_a_contrast_left_out() -> None:
    study = series("3", "t2"), series("5", "routine"), series("6", "flair")
    assert chosen(*study, t1="5", t2="none") == {"t1": "5", "flair": "6"}
    assert chosen(*study, t1="3") == {"t1": "3", "flair": "6"}  # a series is one contrast
    with pytest.raises(InputError, match="p has no series 8") as error:
        chosen(*study, t1="8")
    assert "3: 1.0 x 1.0 x 5.0 mm, 20 slices; 5:" in error.value.hint
    with pytest.raises(InputError, match="p has several series 4") as error:
        chosen(series("4a", "t2"), series("4b", "routine"), t2="4")
    assert "4a:" in error.value.hint


def test_a_flaw_is_no_reason_to_go_on_without_a_word() -> None:
    with pytest.raises(InputError, match=r"p: series 3 \(t2\): 2 of 22 slices are missing") as error:
        chosen(series("3", "t2", flaw="2 of 22 slices are missing"), series("4", "flair"))
    assert "--series t2=none" in error.value.hint
    with pytest.raises(InputError, match="series 3 is no scan: a localiser"):
        chosen(replace(series("3", "t2"), unfit="a localiser"), t2="3")


def test_no_brain_at_all() -> None:
    with pytest.raises(InputError, match=r"no scan of a brain among its 2 series \(1 \(named tof\); 2 \(named swi\)\)"):
        chosen(series("1", "tof"), series("2", "swi"))
