"""What a federated training has on disk after a round: RUN/rounds/<track>/state.safetensors, one commit a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.algorithm import GlobalState
from fgl.core.server.round_updates import RoundEntry
from fgl.core.store.checkpoints import Checkpoints
from fgl.core.store.run_dir import RunDir
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


_MODEL, _OWN = "model/", "own/"


@dataclass(frozen=True, slots=True)
class Committed:
    """What a committed round left. history: an entry a round. kept: client → digest of what it keeps for its next."""

    state: GlobalState
    history: list[RoundEntry]
    kept: dict[str, str]

    @property
    def line(self) -> str:
        """Of the last round, for a progress display."""
        top1 = self.history[-1].get("top1") if self.history else None
        return "" if top1 is None else f"top-1 {top1:.1%}"


def place(run: RunDir, track: str, course: str) -> Checkpoints:
    """course: digest of what determines the training, but for its length; what another one left is not found."""
    return Checkpoints(run, run.path("rounds", track), course, "state")


def write(store: Checkpoints, reached: Committed) -> None:
    state = reached.state
    said = {"rounds": reached.history, "trained": list(state.trained), "kept": reached.kept}
    arrays = {f"{_MODEL}{name}": array for name, array in state.model.items()}
    arrays |= {f"{_OWN}{name}": array for name, array in state.algorithm_state.items()}
    store.save({**arrays, "said": np.frombuffer(strict_json.dumps(said).encode(), dtype=np.uint8)})


def read(store: Checkpoints) -> Committed | None:
    """None where there is nothing, or nothing that was written whole by this version."""
    arrays = store.load()
    if arrays is None:
        return None
    said = strict_json.loads(arrays["said"].tobytes())
    if "kept" not in said:
        return None
    state = GlobalState(_part(arrays, _MODEL), tuple(said["trained"]), _part(arrays, _OWN))
    return Committed(state, said["rounds"], said["kept"])


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
