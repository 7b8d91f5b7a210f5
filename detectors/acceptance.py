"""What a person accepted as the new normal, as the profile remembers it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A target's reference counts were replaced by those of newer traffic."""

    target: str
    rows: int  # new reference rows
    rows_before: int
    since: int  # event time from which the new rows are, milliseconds
    until: int  # and before which
    at: int  # when it was accepted, milliseconds since the epoch
    by: str
    comment: str
    profile: str  # hash of the profile before
