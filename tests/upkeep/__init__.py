"""Prune, promote and delete on a real farm under load and kills: nothing wanted is lost, nothing
unwanted stays."""
