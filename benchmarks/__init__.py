"""Measurements that anybody can repeat, such as `python -m benchmarks.assign`; `benchmarks.all` runs the chief ones."""
