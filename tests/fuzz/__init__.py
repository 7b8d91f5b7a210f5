"""Fuzzing: what is thrown at intake and configuration, and what must hold whatever it is.

`python -m tests.fuzz` runs it under a coverage-guided fuzzer; `test_targets.py` a little of it in
every run of the tests.
"""
