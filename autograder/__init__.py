"""The course's grader and authoring tools."""
