"""A laboratory of small runs: what growing saves, from a queue of many.

`benchmarks/evidence.py` is its command.
"""
