from __future__ import annotations

import numpy as np

from isometry.evaluation.agreement import agreement


def test_agreement_by_hand() -> None:
    among = np.eye(4)
    teacher = np.array([[4.0, 3, 2, 1], [1, 2, 3, 4]])
    same = agreement((teacher, among), (teacher, among), 2)
    # The student finds 0 and 2 for the first, 3 and 2 for the second.
    student = np.array([[4.0, 1, 3, 2], [1, 2, 3, 4]])
    assert same == 1 and agreement((teacher, among), (student, among), 2) == 0.75
    # Other axes and other dimensions change nothing; nor does the order within the first.
    wider = np.hstack([student, np.zeros((2, 3))]), np.hstack([among, np.zeros((4, 3))])
    assert agreement((teacher, among), wider, 2) == 0.75
    assert agreement((teacher, among), (-teacher, among)) == 1


def test_fewer_queries_than_the_depth_do_not_make_it_less() -> None:
    among = np.eye(12)
    teacher, student = np.arange(12.0)[None], np.roll(np.arange(12.0), 3)[None]
    # The first ten of twelve: the teacher leaves out 0 and 1, the student 3 and 4.
    assert agreement((teacher, among), (student, among)) == 0.8
