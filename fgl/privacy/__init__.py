"""What a release of noised figures costs in privacy, and the noise itself.

Pure mathematics: nothing here knows of runs, clients or files. `gaussian` prices Gaussian mechanisms exactly, `noise`
draws from the operating system's source of randomness in exact arithmetic, `release` joins the two: what a noised
array costs, with its grid. Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fgl.privacy.cost import Cost
    from fgl.privacy.gaussian import compose, delta_of, epsilon_of, log_delta_of, mu_of, sigma_of
    from fgl.privacy.noise import add_noise, default_grid, discrete_gaussian, on_grid
    from fgl.privacy.release import Release

__all__ = [
    "Cost",
    "Release",
    "add_noise",
    "compose",
    "default_grid",
    "delta_of",
    "discrete_gaussian",
    "epsilon_of",
    "log_delta_of",
    "mu_of",
    "on_grid",
    "sigma_of",
]

_HOMES = {
    "cost": ("Cost",),
    "gaussian": ("compose", "delta_of", "epsilon_of", "log_delta_of", "mu_of", "sigma_of"),
    "noise": ("add_noise", "default_grid", "discrete_gaussian", "on_grid"),
    "release": ("Release",),
}
_LAZY = {name: f"fgl.privacy.{module}" for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(_LAZY[name]), name)
            return value
        raise AttributeError(f"module 'fgl.privacy' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
