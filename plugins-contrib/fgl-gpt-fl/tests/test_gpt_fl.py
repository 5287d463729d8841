"""GPT-FL keeps the contract of methods, and runs as a row of a comparison."""

from __future__ import annotations

import fgl
import pytest
from fgl.testing.contracts import MethodContract
from pydantic import ValidationError

from fgl_gpt_fl.method import GptFl
from fgl_gpt_fl.options import GptFlOptions


class TestGptFl(MethodContract):
    make = staticmethod(lambda: GptFl(GptFlOptions()))


class TestGptFlWithATextModel(MethodContract):
    make = staticmethod(lambda: GptFl(GptFlOptions(text_model="owner/model", rounds=0, algorithm="fedadam")))


@pytest.mark.parametrize("guidance", [(6.0, 1.0), (0.0, 3.0)])
def test_guidance_that_is_no_interval_is_rejected(guidance: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="low <= high"):
        GptFlOptions(guidance=guidance)


def test_it_is_a_row_beside_fgl(tmp_path) -> None:
    config = {
        "dataset": {"name": "bundled", "max_per_class": 8}, "partition": {"name": "iid", "clients": 2},
        "synthesis": {"images_per_class": 3}, "generator": {"name": "tiny", "num_inference_steps": 2},
        "classifier": {"name": "small", "epochs": 1}, "rounds": {"local_epochs": 1},
        "baseline_options": {"gpt-fl": {"rounds": 1, "prompts_per_class": 3}},
    }  # fmt: skip
    result = fgl.compare(config, methods=["fgl", "gpt-fl"], seeds=1, rounds=1, out=tmp_path / "both")
    assert list(result.methods) == ["fgl", "gpt-fl"]
    assert result.methods["gpt-fl"].title == "gpt-fl, 1 round after it"
    assert result.methods["gpt-fl"].bytes_sent > result.methods["fgl"].bytes_sent
    saved = (tmp_path / "both" / "seed-0" / "methods" / "gpt-fl" / "config.yaml").read_text()
    assert "guidance_scale:\n  - 1.0\n  - 6.0" in saved
    assert "scheduler: DPMSolverMultistepScheduler" in saved
