"""What is handed to users: the report of a capture, as a mapping with the fields' names as attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastcap.verdict import judge


class Report(Mapping[str, Any]):
    """The report of one file, or of a recording that was not written.

    A read-only mapping of the JSON object that ``capture --json`` prints; fields can be read as attributes,
    too: ``report.words_lost``. Units are in the names; what nobody measured is None.

    Attributes
    ----------
    exit_status : int
        0 complete, nothing lost; 3 with losses, or the source ended early or badly; 130 interrupted.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_fields"][name]
        except KeyError:
            raise AttributeError(f"report has no field '{name}'") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def exit_status(self) -> int:
        """The command line's exit status for this report."""
        return judge(self._fields).exit_status

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return dict(self._fields)

    def _repr_html_(self) -> str:
        from fastcap.htmlview import report_html

        return report_html(self)

    def __repr__(self) -> str:
        return f"<Report: {judge(self._fields).line}>"
