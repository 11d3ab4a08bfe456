"""The machinery around the lessons: the dial, the ledger, predictions, exercises, quizzes, artifacts, and the tools.

Notebooks use the names below; nothing outside `memcourse.course` imports it.
"""

from memcourse.lazy import lazy

_ROOMS = {
    "begin": "profile", "artifact": "artifacts", "check": "exercises", "solution": "exercises",
    "predict": "ledger", "record": "ledger", "expect": "ledger", "show_ledger": "ledger",
    "progress": "notes", "quiz": "quizzes", "contents": "readme", "explore_costs": "explorer",
}  # fmt: skip
__getattr__, __dir__ = lazy(__name__, _ROOMS)
__all__ = sorted(_ROOMS)
