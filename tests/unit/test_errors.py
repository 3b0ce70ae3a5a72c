from __future__ import annotations

import pytest

from launcher.errors import FormationError, LauncherError, Problem, SpecError, UsageError, did_you_mean


@pytest.mark.parametrize(("kind", "code"), [(LauncherError, 1), (UsageError, 2), (FormationError, 3)])
def test_each_error_has_the_exit_code_of_the_table(kind: type[LauncherError], code: int) -> None:
    assert kind("a sentence").exit_code == code
    assert str(kind("a sentence")) == "a sentence"


def test_a_problem_is_where_key_and_message_as_far_as_there_are_any() -> None:
    assert str(Problem("cluster.yaml:7", "mode", "is wrong")) == "cluster.yaml:7: mode: is wrong"
    assert str(Problem("cluster.yaml", "", "is empty")) == "cluster.yaml: is empty"
    assert str(Problem("", "args.rate", "is missing")) == "args.rate: is missing"


def test_a_spec_error_is_a_usage_error_with_a_line_per_problem() -> None:
    error = SpecError(Problem("", key, "is wrong") for key in ("a", "b"))
    assert (str(error), error.exit_code) == ("a: is wrong\nb: is wrong", 2)
    assert [problem.key for problem in error.problems] == ["a", "b"]


def test_the_nearest_word_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("wroker", ["ps", "worker"]) == "; did you mean 'worker'?"
    assert did_you_mean("x", ["ps", "worker"]) == ""
    assert did_you_mean("x", []) == ""


def test_a_list_of_the_known_words_follows_the_hint_or_stands_for_it() -> None:
    assert did_you_mean("wroker", ["ps", "worker"], "jobs") == "; did you mean 'worker'? Jobs: ps, worker"
    assert did_you_mean("x", ["ps", "worker"], "jobs") == "; jobs: ps, worker"
    assert did_you_mean("x", [], "jobs") == "; jobs: none"
    assert did_you_mean("x", map(str, range(100)), "ports").endswith(" 18, 19, …")
