"""Writes tests/unit/privacy/dp_accounting.json: what Google's dp-accounting says of Gaussian mechanisms.

    python -m venv DIR && DIR/bin/pip install dp-accounting==0.6.0 && DIR/bin/python tools/dp_accounting_table.py

In an environment of its own: dp-accounting wants an attrs older than the one that fgl is tested with.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from dp_accounting import dp_event
from dp_accounting.pld.common import DifferentialPrivacyParameters
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

TABLE = Path(__file__).parents[1] / "tests" / "unit" / "privacy" / "dp_accounting.json"
SIGMAS = (0.3, 0.7, 1.0, 1.87, 3.73, 10.0, 50.0)
EPSILONS = (0.0, 0.1, 1.0, 4.0, 10.0)
DELTAS = (1e-3, 1e-5, 1e-8, 1e-12)


def main() -> None:
    deltas = [
        [sigma, epsilon, GaussianPrivacyLoss(sigma).get_delta_for_epsilon(epsilon)]
        for sigma in SIGMAS
        for epsilon in EPSILONS
    ]
    sigmas = []
    for epsilon in EPSILONS[1:]:
        for delta in DELTAS:
            loss = GaussianPrivacyLoss.from_privacy_guarantee(DifferentialPrivacyParameters(epsilon, delta))
            sigmas.append([epsilon, delta, loss.standard_deviation])
    composed = []
    for sigma, count in ((1.87, 3), (3.73, 10), (20.0, 50)):
        accountant = PLDAccountant(value_discretization_interval=1e-4)
        accountant.compose(dp_event.GaussianDpEvent(sigma), count)
        composed.append([sigma, count, 1e-5, accountant.get_epsilon(1e-5)])
    made = {"dp_accounting": version("dp-accounting"), "delta": deltas, "sigma": sigmas, "composed": composed}
    TABLE.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
