"""The task queues that people use otherwise, each with one task that does nothing.

Each module is both what the workers load and what submits: `COMMAND` starts the workers in the
way that its documentation recommends, `submit(number)` sends one task, `WORKER` is found in the
command lines of its worker processes. Their tasks keep no results, and none has a frontend:
what they do is what stands between our queue and our builder, not the whole path.
"""
