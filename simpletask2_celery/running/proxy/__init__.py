"""The HTTP request that one step asks for, and its answer for the next step.

An egress worker has neither Django nor a project: but for ``answers``, nothing here imports Django.

- ``fetching``: makes the request
- ``policy``: what a request may reach, how long it may take, how large its answer may be
- ``masking``: what errors and log lines may say of a request
- ``sending``: the messages of a request that another machine makes
- ``answers``: the adapter that tests put in the place of the network
"""
