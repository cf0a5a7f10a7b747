"""The HTTP request that one step asks for and the next one gets.

- ``fetching``: makes the request
- ``policy``: which schemes, hosts and addresses it may reach
- ``masking``: what errors and log lines may say of it
- ``answers``: answers that a test gives in the place of the network
"""
