"""Options of the federated algorithms. What all of them share (epochs, share of clients) is under `rounds`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fgl.contracts.options import Options


class FedAvgOptions(Options):
    weighting: Literal["samples", "uniform"] = Field(
        "samples", description="weight of a client in the average: its number of samples, or the same for all"
    )


class FedProxOptions(FedAvgOptions):
    mu: float = Field(0.01, ge=0, description="strength of the pull towards the global model; 0: FedAvg")


class ScaffoldOptions(FedAvgOptions):
    server_lr: float = Field(
        1.0, gt=0, description="server learning rate: share of the averaged change that the server applies"
    )
    control: Literal["gradients", "displacement"] = Field(
        "gradients",
        description="new control variate of a client: the mean of its gradients in the round, or its change of weights "
        "divided by the sum of learning rates (the paper's option II, exact only for plain SGD)",
    )


class FedAdamOptions(FedAvgOptions):
    lr: float = Field(0.01, gt=0, description="server learning rate")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the first moment, per round")
    beta2: float = Field(0.99, ge=0, lt=1, description="decay of the second moment, per round")
    tau: float = Field(1e-3, gt=0, description="added to the root of the second moment: the smaller, the more adaptive")
