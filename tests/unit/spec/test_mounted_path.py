"""run.output: what is expanded, what is refused and why, and what passes as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import SpecError
from launcher.spec.file import ClusterFile, check


def asked(output: str, *overrides: str) -> ClusterFile:
    return check(f"job: x\ncluster: {{worker: 1}}\nrun: {{output: '{output}'}}\n", Path("cluster.yaml"), overrides)


@pytest.mark.parametrize("scheme", ["gs", "s3", "s3a", "hdfs", "az", "https", "GS"])
def test_a_store_without_locks_and_renames_is_refused_with_that_reason(scheme: str) -> None:
    with pytest.raises(SpecError, match=r"cluster.yaml:3: run.output: .*locks and renames"):
        asked(f"{scheme}://bucket/runs")
    with pytest.raises(SpecError, match="locks and renames"):
        asked("runs", f"run.output={scheme}://bucket/runs")


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("file:///data/runs", "is a URL; write the path alone"),
        ("file:/data/runs", "is a URL; write the path alone"),
        ("$HOME/runs", "has a variable"),
        ("/data/${USER}", "has a variable"),
        ("~nobody-of-this-name/runs", "nobody's home directory"),
    ],
)
def test_what_would_become_a_directory_of_that_name_is_refused(output: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        asked(output)


def test_the_home_directory_is_expanded_and_the_file_keeps_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert asked("~/runs").spec.run.output == "/home/me/runs"
    assert asked("~/runs").data["run"]["output"] == "~/runs"


@pytest.mark.parametrize("output", ["runs", "../a b", "/mnt/x", "a~", "a:b", "./~x", "C:runs"])
def test_other_paths_pass_as_they_are_written(output: str) -> None:
    assert asked(output).spec.run.output == output


@pytest.mark.parametrize("text", ["gs://bucket/data", "~/x", "$HOME", "file:///x"])
def test_args_pass_untouched(text: str) -> None:
    assert asked("runs", f"args.data='{text}'").spec.args == {"data": text}
