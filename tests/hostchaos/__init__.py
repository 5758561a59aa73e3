"""Hosts in network namespaces under a killer: `python -m tests.hostchaos`."""
