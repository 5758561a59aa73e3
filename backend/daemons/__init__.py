"""The processes of the daemon, one module each; only here real collaborators are wired."""
