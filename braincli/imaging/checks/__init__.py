"""The gatekeeper: a battery of small checks that every input passes before any other tool sees it.

``problem`` what a check returns · ``stream`` the file and its bytes, to the end · ``header`` dimensions and
types · ``geometry`` which affine counts · ``values`` the voxels · ``gate`` all of them in order · ``survey``
files and cases for ``braincli check`` · ``privacy`` what a header tells about the patient.
"""

from braincli.imaging.checks.gate import MAX_VOXELS, Reading, inspect_file, read
from braincli.imaging.checks.geometry import HeaderFacts
from braincli.imaging.checks.problem import Level, Problem

__all__ = ["MAX_VOXELS", "HeaderFacts", "Level", "Problem", "Reading", "inspect_file", "read"]
