"""Checks, before anything is encoded, that a folder's weights are those of the pipeline that it describes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fgl.errors import ModelError
from fgl.plugins._logging import quiet_diffusers
from fgl.plugins._weights import check_content, check_files, check_names
from fgl.plugins.generators.model_folder import ModelFolder
from fgl.plugins.generators.pipeline_parts import WEIGHTS
from fgl.text import first_line

with quiet_diffusers():
    import diffusers
    import transformers


def check_parts(folder: ModelFolder, parts: Collection[str], *, content: bool = False) -> None:
    """Raise ModelError if weights of the parts are missing, truncated, under other names or of the wrong shape.

    content: also read all numbers, which must be finite.
    """
    for part in parts:
        if part not in WEIGHTS:
            continue
        whose = f"model: the {part} of {folder.name}"
        files = folder.weights(part)
        check_files([*folder.indices(part), *files], f"model: {folder.name} has a damaged {part}", folder.path)
        try:
            check_names(_class(folder, part).from_pretrained, folder.path / part, files, whose)
        except ModelError:
            raise
        except Exception as error:  # whatever a wrong configuration makes the library raise
            raise ModelError(
                f"{whose} cannot be loaded: {first_line(error)}; its config.json is damaged, or for another version of "
                "diffusers or transformers"
            ) from error
        if content:
            check_content(files, whose)


def _class(folder: ModelFolder, part: str) -> Any:
    library, name = folder.json("model_index.json")[part]
    model_class = getattr({"diffusers": diffusers, "transformers": transformers}[library], name, None)
    if not hasattr(model_class, "from_pretrained"):
        raise ModelError(f"model: {folder.name} has a {part} of {library}.{name}, which the installed {library} lacks")
    return model_class
