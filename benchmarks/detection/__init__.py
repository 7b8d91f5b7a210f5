"""False alarms and delays of Tocsin and others on streams whose change is known."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, by default everything, and write the tables into docs/detection.md."""
    from benchmarks.detection import command

    command.main(arguments or [])
