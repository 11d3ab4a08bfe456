"""`python -m memcourse` is the same as the command `memcourse`."""

from memcourse.course.cli import main

raise SystemExit(main())
