"""What the Hub's client cannot read is mended before it is imported; revisions are what git could call them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from fgl.contracts.options import is_revision
from fgl.plugins.generators.options import StableDiffusionOptions
from fgl.plugins.prompts.options import CaptionOptions

SOURCE = """
import fgl
from huggingface_hub import constants
print(constants.HF_HUB_DOWNLOAD_TIMEOUT, constants.HF_HUB_ETAG_TIMEOUT)
"""


@pytest.mark.parametrize(
    ("given", "used", "said"),
    [
        ("0.5", "1", "HF_HUB_DOWNLOAD_TIMEOUT: got '0.5'"),
        ("30.2", "31", "got '30.2'"),
        ("soon", "10", "the default is used"),
        ("nan", "10", "the default is used"),
        ("-3", "10", "the default is used"),
        ("20", "20", ""),
    ],
)
def test_a_time_that_the_client_cannot_read_is_said_and_stops_nothing(given: str, used: str, said: str) -> None:
    environment = {**os.environ, "HF_HUB_DOWNLOAD_TIMEOUT": given, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("HF_HUB_ETAG_TIMEOUT", None)
    done = subprocess.run([sys.executable, "-c", SOURCE], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [used, "10"]), done.stderr
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)


@pytest.mark.parametrize("text", ["main", "refs/pr/50", "v1.0", "a" * 40, "feature/x", "ümlaut", "v$1"])
def test_what_git_calls_a_branch_tag_or_commit_is_a_revision(text: str) -> None:
    assert is_revision(text)


CLIMBING = [
    "../x",
    "/abs",
    "a/../b",
    "x\n",
    "a b",
    "a/.git",
    "x.lock",
    "",
    "a/",
    "-x",
    "@",
    "a\u202eb",
    "a\\b",
    "x" * 201,
]


@pytest.mark.parametrize("text", CLIMBING)
def test_revisions_are_what_git_could_call_them(text: str) -> None:
    assert not is_revision(text)
    for options in (
        lambda: StableDiffusionOptions(revision=text),
        lambda: StableDiffusionOptions(lora="who/lora", lora_revision=text),
        lambda: CaptionOptions(revision=text),
    ):
        with pytest.raises(ValidationError):
            options()
