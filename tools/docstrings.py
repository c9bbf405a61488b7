"""Docstrings of braincli as mkdocstrings wants them: an extension of griffe, which reads them."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Plain(griffe.Extension):
    """Sphinx' roles become code (``:func:`~a.b``` shows b), and ``Example:`` the section that it is."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object whose docstring was read, before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def plain(text: str) -> str:
    """``text`` of a docstring without what only Sphinx understands."""
    text = re.sub(r":(?:func|class|mod|meth|attr|data|exc):`(?:~[\w.]*?(\w+)|([^`~]+))`", r"`\1\2`", text)
    return re.sub(r"^(\s*)Example:$", r"\1Examples:", text, flags=re.MULTILINE)
