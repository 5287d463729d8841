"""What a prompt strategy says of images, as captions for a generator to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fgl.contracts.prompts import Prepared
from fgl.core.client import prepared
from fgl.errors import BrokenPluginError, FGLError

if TYPE_CHECKING:
    from fgl.contracts.prompts import ClientContext, Prompt
    from fgl.core.config.schema import RunConfig
    from fgl.core.plugin_manager import PluginManager


def asked(manager: PluginManager, config: RunConfig, strategy: Any, context: ClientContext) -> Sequence[Prompt]:
    """The texts that a prompt strategy writes, checked. Raises BrokenPluginError."""
    name = config.prompt_strategy.name
    whose = manager.registry.find("prompt_strategy", name).title
    try:
        answer = strategy.prompts(context)
        prompts = list(answer.prompts if isinstance(answer, Prepared) else answer)
    except FGLError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokenPluginError(f"{whose} raised {type(error).__name__}: {error}") from error
    return prepared.checked_prompts(prompts, context.class_names, whose)
