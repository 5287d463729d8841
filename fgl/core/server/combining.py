"""What takes the place of a round's updates before the algorithm averages them: see `fgl.contracts.aggregation_rule`.

The rule sees the updates as differences to the model that was sent, and the algorithm's own arrays as they are. What it
makes of them is handed on as updates again, as many as before: so every algorithm works on it as it always does, and
where a rule has one result, each of its copies, whatever weights it averages them with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fgl.contracts.aggregation_rule import BUFFERS, EXTRA, WEIGHTS
from fgl.contracts.component import SELECTED_BY
from fgl.core.config.defaults import PLAIN_RULE
from fgl.core.server.round_rule import RoundRule
from fgl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from fgl.contracts.aggregation_rule import AggregationRule
    from fgl.contracts.algorithm import GlobalState, LocalUpdate
    from fgl.contracts.arrays import Array
    from fgl.core.config.schema import RoundsOptions
    from fgl.core.plugin_manager import PluginManager


def rule_of(options: RoundsOptions, manager: PluginManager, clients: int) -> AggregationRule | None:
    """The rule, None where updates stay as they are. clients: of which a share is asked in a round.

    Raises ConfigError where a round in which all that are asked answer has too few updates for the rule."""
    chosen = options.rule()
    if chosen.name == PLAIN_RULE:
        return None
    rule: AggregationRule = manager.create("aggregation_rule", chosen)
    asked = number_asked(options.fraction, clients)
    if reason := rule.refusal(asked):
        share = f" (rounds.fraction {options.fraction:g} of {clients})" if asked < clients else ""
        expected = f"{reason}{share}; expected more clients in a round, or another rule"
        raise ConfigError([Problem(SELECTED_BY["aggregation_rule"], chosen.name, expected)])
    return rule


def number_asked(fraction: float, clients: int) -> int:
    """How many clients are asked in a round."""
    return max(1, round(fraction * clients))


def ruled(
    name: str, rule: AggregationRule, state: GlobalState, updates: Sequence[LocalUpdate]
) -> tuple[list[LocalUpdate], RoundRule]:
    """(what takes the place of the updates, what happened to them); no updates where there are too few.

    name: of the rule. updates: accepted, in order of client id. Arrays keep their dtypes. Of arrays that are not
    floating point, such as BatchNorm's counters, all get the middle one of the values that were sent, of two the
    larger: a hostile minority cannot choose it."""
    if reason := rule.refusal(len(updates)):
        return [], RoundRule(name=name, left_out=[], scaled={}, refused=reason)
    parts = {name: rows for name, rows in _parts(state, updates).items() if rows.shape[1]}
    ruling = rule.apply(parts)
    result: list[LocalUpdate] = []
    counters = _middle(updates)
    one_for_all = all(rows.strides[0] == 0 for rows in ruling.parts.values())
    for row, update in enumerate(updates):
        if one_for_all and result:
            result.append(replace(update, model=result[0].model, extra=result[0].extra))
            continue
        rows = {part: np.asarray(ruling.parts[part][row]) for part in ruling.parts}
        model: dict[str, Array] = {**update.model, **counters}
        for part, names in ((WEIGHTS, _floating(state, True)), (BUFFERS, _floating(state, False))):
            start = {name: state.model[name] for name in names}
            changes = _unpacked(rows.get(part), start)
            model |= {name: (start[name] + change).astype(start[name].dtype) for name, change in changes.items()}
        extra = _unpacked(rows.get(EXTRA), update.extra)
        result.append(
            replace(update, model=model, extra={name: array.astype(np.float32) for name, array in extra.items()})
        )
    ids = [update.client_id for update in updates]
    said = RoundRule(
        name=name,
        left_out=[ids[row] for row in sorted(ruling.left_out)],
        scaled={ids[row]: round(float(factor), 6) for row, factor in sorted(ruling.scaled.items())},
    )
    return result, said


def fixed_mean(state: GlobalState, updates: Sequence[LocalUpdate], asked: int) -> list[LocalUpdate]:
    """Noised updates, each replaced by the sum of all their changes divided by how many clients were asked.

    The divisor follows from the configuration alone and not from who answered, and all weigh the same. Other arrays
    than the trained ones are those that were sent to the clients."""
    names = _floating(state, True)
    total = sum((change_of(state, update, names) for update in updates), start=np.zeros(0) if not names else 0.0)
    changes = _unpacked(np.asarray(total) / asked, {name: state.model[name] for name in names})
    model = dict(state.model)
    model |= {name: (model[name] + change).astype(model[name].dtype) for name, change in changes.items()}
    return [replace(update, model=model, extra={}) for update in updates]


def _floating(state: GlobalState, is_trained: bool) -> list[str]:
    """Names of floating-point arrays that an optimizer changes, or of those that it does not, in the model's order."""
    return [
        name
        for name, array in state.model.items()
        if np.issubdtype(array.dtype, np.floating) and (name in state.trained) == is_trained
    ]


def change_of(state: GlobalState, update: LocalUpdate, names: Sequence[str]) -> Array:
    """How far an update's arrays lie from the model that was sent, as one vector: float64 [d]."""
    changes = [update.model[name].astype(np.float64).ravel() - state.model[name].ravel() for name in names]
    return np.concatenate(changes) if changes else np.zeros(0)


def _parts(state: GlobalState, updates: Sequence[LocalUpdate]) -> dict[str, Array]:
    """Part → float64 [n, d]."""
    weights, buffers = _floating(state, True), _floating(state, False)
    extra = [[array.astype(np.float64).ravel() for array in update.extra.values()] for update in updates]
    return {
        WEIGHTS: np.stack([change_of(state, update, weights) for update in updates]),
        BUFFERS: np.stack([change_of(state, update, buffers) for update in updates]),
        EXTRA: np.stack([np.concatenate(arrays) if arrays else np.zeros(0) for arrays in extra]),
    }


def _unpacked(row: Array | None, like: Mapping[str, Array]) -> dict[str, Array]:
    """A row of a part as arrays of these names and shapes, float64; none where the part is empty."""
    if row is None:
        return {}
    ends = np.cumsum([array.size for array in like.values()])
    pieces = np.split(row, ends[:-1])
    return {name: piece.reshape(array.shape) for (name, array), piece in zip(like.items(), pieces, strict=True)}


def _middle(updates: Sequence[LocalUpdate]) -> dict[str, Array]:
    whole = [name for name, array in updates[0].model.items() if not np.issubdtype(array.dtype, np.floating)]
    return {
        name: np.asarray(np.sort(np.stack([update.model[name] for update in updates]), axis=0)[len(updates) // 2])
        for name in whole
    }
