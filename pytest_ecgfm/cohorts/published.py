"""What cohorts read from files have beside a `Cohort`'s own: their folder, and what a report should say about them."""

from collections.abc import Mapping
from typing import Any

from pytest_ecgfm.cohorts.base import Cohort
from pytest_ecgfm.cohorts.folders import Folder


class PublishedCohort(Cohort):
    """A cohort that is read from a folder.

    Parameters
    ----------
    name : str
        Of the cohort.
    folder : Folder
        Holds every file of the cohort.
    label_notes : mapping of str to str, optional
        Labels that the cohort expresses indirectly or not at all, and why.
    unmapped : mapping of str to int, optional
        Diagnosis codes that no table of ours holds, and in how many records they occur.
    excluded : mapping of str to str, optional
        Records of the release that are left out, and why.
    caution : str, optional
        What a reader of results should know about the signals.
    **table
        As for `Cohort`.
    """

    def __init__(
        self,
        name: str,
        folder: Folder,
        *,
        label_notes: Mapping[str, str] | None = None,
        unmapped: Mapping[str, int] | None = None,
        excluded: Mapping[str, str] | None = None,
        caution: str = "",
        **table: Any,
    ) -> None:
        super().__init__(name, **table)
        self.folder = folder
        self.label_notes = dict(label_notes or {})
        self.unmapped = dict(unmapped or {})
        self.excluded = dict(excluded or {})
        self.caution = caution

    def padding(self, record: str) -> tuple[int, int]:
        """Return how many samples of padding the file holds before and after a record, which `read` leaves out."""
        return 0, 0
