"""Intake: from what arrives (folders, archives, platform downloads) to submissions.

Does: everything between the download and the grader: safe reading (``files``), who handed in what
(``people``), tolerant notebooks (``notebook``), finding cells again (``cells``), and
:func:`collect`, which puts them together.
Does not: extract to disk, follow links, run anything, or stop for one bad submission.
"""

from autograder.intake.collect import collect, missing_students, submission_of
from autograder.intake.files import Caps, IntakeError

__all__ = ["Caps", "IntakeError", "collect", "missing_students", "submission_of"]
