"""A real server under everything that clients do, for as long as one likes: `python -m hack.soak`.

Its cache is small, so that requests take it from each other. What is checked: every answer that
can be known beforehand is that answer, every other one keeps its promise; nothing is a 5xx; at the
end nothing runs, waits or holds a part of the cache; no process was added and none grew.
"""
