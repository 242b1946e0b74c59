"""Measurements that anybody can repeat: `python -m benchmarks.assign`, `.bulk`, `.imports`, `.render`, `.growth`."""
