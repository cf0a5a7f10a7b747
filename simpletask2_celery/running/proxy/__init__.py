"""The HTTP request that one step asks for, and its answer for the next step.

- ``fetching``: makes the request
- ``policy``: what a request may reach, how long it may take, how large its answer may be
- ``masking``: what errors and log lines may say of a request
- ``answers``: the adapter that tests put in the place of the network
"""
