"""Options of the built-in executors."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from fgl.contracts.options import Options

_DEVICE = re.compile(r"(cpu|mps|cuda:\d{1,3})\Z")
_MANY = re.compile(r"(auto|cpu:[1-9]\d{0,3})\Z")
_EXPECTED = "expected auto, a list of devices such as [cuda:0, cuda:1], or cpu:N for N processes on the CPU"


class ProcessesOptions(Options):
    """Options of `processes`: one process a device."""

    devices: str | list[str] = Field(
        "auto",
        description="one process on each: auto (every GPU, or one process where there is none), a list such as "
        "[cuda:0, cuda:1], or cpu:N for N processes on the CPU; each loads a model of its own",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="threads of each process; null: those of the run, divided by the processes. Another number rounds "
        "differently on a CPU",
    )

    @field_validator("devices")
    @classmethod
    def _known(cls, devices: str | list[str]) -> str | list[str]:
        if isinstance(devices, str):
            if not _MANY.match(devices) and not _DEVICE.match(devices):
                raise ValueError(_EXPECTED)
            return devices
        if not devices or not all(_DEVICE.match(device) for device in devices):
            raise ValueError(_EXPECTED)
        if len({device.partition(":")[0] for device in devices}) > 1:
            raise ValueError("expected devices of one kind: another kind makes other images")
        return devices
