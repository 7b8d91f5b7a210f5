"""`python -m benchmarks [NAME ...]`: run the named benchmarks, or all of them but `soak`.

What follows the names, from the first option on, goes to the one benchmark that is named.
`competitors` is none: it installs what `detection` compares Tocsin with.
"""

import importlib
import sys

NAMES = ("throughput", "checkpoint", "detection", "detection-real")
MODULES = {
    "detection-real": "detection.real",
    "competitors": "detection.competitors.elsewhere",
    "soak": "soak",
}


def main() -> None:
    given = sys.argv[1:]
    first = next((i for i, a in enumerate(given) if a.startswith("-")), len(given))
    chosen, options = given[:first] or list(NAMES), given[first:]
    unknown = [name for name in chosen if name not in (*NAMES, *MODULES)]
    if unknown:
        known = ", ".join(dict.fromkeys([*NAMES, *MODULES]))
        sys.exit(f"no benchmark {', '.join(unknown)}: there are {known}")
    if options and chosen not in (["detection"], ["soak"]):
        sys.exit("only `detection` and `soak` have options")
    for name in chosen:
        run = importlib.import_module(f"benchmarks.{MODULES.get(name, name)}").main
        run(options) if options else run()


if __name__ == "__main__":
    main()
