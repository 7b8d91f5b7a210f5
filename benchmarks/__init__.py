"""What the documents claim, measured: `python -m benchmarks NAME`."""
