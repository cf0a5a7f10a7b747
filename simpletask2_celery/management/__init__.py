"""The commands of manage.py.

- ``commands``: one file for each command
- ``selection``: the options that select rows, and the loop over pages of them
- ``terminal``: Ctrl-C, and progress on a terminal
"""
