"""One item -> the forms that a learner sees."""
