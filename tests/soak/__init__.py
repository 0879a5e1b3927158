"""The soak: random runs for as long as one likes, held against what must always hold.

    python -m tests.soak --minutes 60 --workers 2 --log soak.jsonl
    python -m tests.soak --only 31415          one case again, by its seed

A case is made from its seed alone. What fails is printed with the seed, and kept in the log.
"""
