"""Comparisons of vipcli with the obvious way to do the same, as `python -m tests.benchmarks`.

Every module here with a function `comparisons() -> list[Comparison]` takes part.
"""
