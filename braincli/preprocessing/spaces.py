"""The spaces that preprocessing can bring scans to, by the name of the option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from braincli.preprocessing import atlas, mni

if TYPE_CHECKING:
    from braincli import choices
    from braincli.imaging.volume import Volume

ORIGINAL = "orig"  # BIDS' label of a scan's own space


class Template(Protocol):
    """A module that knows one template."""

    NAME: str

    def load_atlas(self, stripped: bool) -> Volume:
        """The template, with skull or (``stripped``) brain only."""

    def spatial_reference(self) -> str:
        """What BIDS sidecars name."""


TEMPLATES: dict[str, Template] = {"sri24": atlas, "mni152": mni}


def template_of(space: choices.Space) -> Template | None:
    """The template of a space; None for the reference scan's own."""
    return TEMPLATES.get(space)


def label_of(space: choices.Space) -> str:
    """The BIDS label of a space."""
    template = template_of(space)
    return ORIGINAL if template is None else template.NAME


def labelled(label: str) -> Template | None:
    """The template whose BIDS label this is; None for that of no template."""
    return next((each for each in TEMPLATES.values() if label == each.NAME), None)
