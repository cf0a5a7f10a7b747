"""What is done in a process of its own, in a side's project and with a side's Python.

``python -m tests.benchmarks.acts MODULE.FUNCTION [NUMBER …]`` says one line of JSON.
"""
