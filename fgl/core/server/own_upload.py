"""An upload that the server writes for itself, through the same codec as a client's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fgl.core.config.defaults import EXACT_CODEC
from fgl.core.server import encoding
from fgl.core.wire import requests, upload, upload_reader
from fgl.core.wire.codecs import TEXT

if TYPE_CHECKING:
    from fgl.contracts.aggregator import ClientUpload
    from fgl.contracts.generator import Encoder
    from fgl.contracts.prompt import Prompt
    from fgl.core.session import Session

SERVER = "server"


def of_prompts(session: Session, prompts: Sequence[Prompt], encoder: Encoder, name: str = SERVER) -> ClientUpload:
    """A row for each prompt, in their order. name: whose upload it says it is."""
    config = session.config
    arrays, indices = encoder.encode(prompts)
    sender = upload.UploadHeader(name, requests.ROUND, session.info.class_names, config.upload.run_id)
    # texts become what fp32 holds
    codec = EXACT_CODEC if config.upload.codec == TEXT else config.upload.codec
    data = upload.encode(sender, session.generator.declare(), codec, prompts, arrays, indices, session.codecs)
    # the caps are for what comes from outside
    return upload_reader.decode(data, replace(encoding.expectation(session, [name]), max_rows=2**40, max_bytes=2**60))
