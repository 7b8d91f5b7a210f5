"""Pure statistics of a monitored model: sketches, detectors, evidence and the alert budget.

Nothing here reads a clock, draws a random number, or does input or output.
"""
