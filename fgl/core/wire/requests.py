"""What the server asks of clients: bytes that go down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from safetensors import SafetensorError
from safetensors.numpy import load, save

from fgl.contracts.arrays import contiguous
from fgl.contracts.preparation import Preparation
from fgl.core.config.schema import RunConfig, Selected
from fgl.errors import UploadFormatError
from fgl.io import strict_json

if TYPE_CHECKING:
    from fgl.contracts.arrays import Array


PREPARE = "fgl.core.client.tasks:answer_prepare"
ROUND = 0


def prepare_request(
    config: RunConfig, client_id: str, round_number: int, private: Path, device: str, data: str
) -> bytes:
    """What the server asks of a client. private: the folder for what the client keeps. data: digest of the simulated
    dataset, so that clients of one process share what they loaded only while it is the same data."""
    return strict_json.dumps(
        {
            "config": _parts(config),
            "client_id": client_id,
            "round": round_number,
            "private": str(private),
            "device": device,
            "data": data,
        }
    ).encode()


def _parts(config: RunConfig) -> dict[str, Any]:
    """A configuration without the method that chose its parts, and without what is the server's alone: a client needs
    to have installed only the parts."""
    return {key: value for key, value in config.to_dict().items() if key not in ("method", "trackers", "server")}


TRAIN = "fgl.core.client.tasks:answer_train"
ADAPT = "fgl.core.client.tasks:answer_adapt"


@dataclass(frozen=True, slots=True)
class Training:
    """What a client is told of a federated training, the same in each of its rounds.

    config: of the run. algorithm, classifier: with their options, those for local training. prepare: what images
    become. digest: of all that determines this training; what the client kept for another is not used. noise: rounds
    that the price in the client's configuration (`rounds.privacy`) is for; 0: updates are exact.
    """

    config: RunConfig
    name: str
    algorithm: Selected
    classifier: Selected
    epochs: int | None
    prepare: Preparation
    device: str
    data: str
    digest: str
    noise: int = 0

    task: ClassVar[str] = TRAIN

    def request(self) -> dict[str, object]:
        """What every client of every round is told."""
        return {
            "config": _parts(self.config),
            "name": self.name,
            "algorithm": self.algorithm.model_dump(),
            "classifier": self.classifier.model_dump(),
            "epochs": self.epochs,
            "prepare": self.prepare.inputs(),
            "device": self.device,
            "data": self.data,
            "digest": self.digest,
            **({"noise": self.noise} if self.noise else {}),
        }


@dataclass(frozen=True, slots=True)
class AdapterTraining:
    """As `Training`, of rounds that adapt the generator: what is trained is in the configuration."""

    config: RunConfig
    name: str
    algorithm: Selected
    device: str
    data: str
    digest: str

    task: ClassVar[str] = ADAPT

    def request(self) -> dict[str, object]:
        """What every client of every round is told."""
        return {
            "config": _parts(self.config),
            "name": self.name,
            "algorithm": self.algorithm.model_dump(),
            "device": self.device,
            "data": self.data,
            "digest": self.digest,
        }


def train_request(
    training: Training | AdapterTraining,
    client_id: str,
    number: int,
    private: Path,
    message: bytes,
    trained: Sequence[str] = (),
) -> bytes:
    """What goes to a client in round `number`. message: the model, see `fgl.core.wire.updates`. trained: names of its
    arrays that an optimizer changes, where their change is noised. A client that is elsewhere would know beforehand
    what comes before it."""
    head = strict_json.dumps(
        {
            **training.request(),
            **({"trained": list(trained)} if isinstance(training, Training) and training.noise else {}),
            "client_id": client_id,
            "round": number,
            "private": str(private),
        }
    ).encode()
    return len(head).to_bytes(8, "little") + head + message


VOTE = "fgl.core.client.tasks:answer_vote"
EVALUATE, PROBE = "fgl.core.client.tasks:answer_evaluate", "fgl.core.client.tasks:answer_probe"


# --- what goes down -------------------------------------------------------------------------------------------------


def task_request(
    config: RunConfig, client_id: str, device: str, data: str, arrays: Mapping[str, Array], **task: Any
) -> bytes:
    """arrays: the weights of a model, features of images. task: what else the task needs, JSON."""
    request = {"config": _parts(config), "client_id": client_id, "device": device, "data": data, **task}
    return save(contiguous(arrays), {"request": strict_json.dumps(request)})


def opened(payload: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    try:
        length = int.from_bytes(payload[:8], "little")
        request = strict_json.loads(strict_json.loads(payload[8 : 8 + length])["__metadata__"]["request"])
        return dict(request), dict(load(payload))
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UploadFormatError(f"the server's request cannot be read: {type(error).__name__}") from error
