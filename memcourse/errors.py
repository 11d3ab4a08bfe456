"""The exceptions whose text is meant for the learner's eyes."""


class CourseError(RuntimeError):
    """Something outside the code is missing or broken (a model, the network, the disk).

    Its text is one or two sentences: what was wrong, and what to do. The command line prints it without a traceback.
    Wrong arguments raise ValueError or TypeError instead, as everywhere in Python.
    """


class UsageError(CourseError):
    """The command was called with something that doesn't exist; the command line ends with 2 instead of 1."""
