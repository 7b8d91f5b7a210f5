"""The error that says what is wrong with a configuration."""

from collections.abc import Iterable

from agent.errors import UsageError


class ConfigError(UsageError):
    """The configuration cannot be used. `problems` has one line each: where, what, how to mend."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Take lines that are ready to be shown."""
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
