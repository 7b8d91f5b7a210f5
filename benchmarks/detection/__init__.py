"""False alarms and delays of Tocsin and others on streams whose change is known."""


def main() -> None:
    """Measure everything and write the tables into docs/detection.md."""
    from benchmarks.detection import report

    report.main()
