"""What `copr_be.py` does besides running: look over, show, explain, and control a daemon.

Each module is one subcommand or what they share; each `run` returns the exit code.
"""
