"""A fleet and a workload in virtual time: what would wait, where, and how full each node would be.

The decisions are those of `core.placement`, the same code that places real work; only the clock is made up. Nothing
here touches a running lab. Called by `cli.simulate` and the benchmarks.
"""
