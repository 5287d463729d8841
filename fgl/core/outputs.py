"""Where results may go: into a folder that is new or empty, or that fgl wrote for the same purpose and data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fgl.core.config.loader import read_yaml
from fgl.core.store.folder_kind import NEW, REMOTE, is_outdated, kind_of, refuse_outdated
from fgl.core.store.owned import OwnedFolder
from fgl.errors import ConfigError, Problem, StoreError
from fgl.text import plain

if TYPE_CHECKING:
    from fgl.core.config.schema import RunConfig
    from fgl.core.session import Session
    from fgl.core.store.run_dir import RunDir


_KINDS = {
    "run": "a run (fgl run)",
    REMOTE: "a run whose clients are elsewhere (fgl server ingest)",
    "compare": "a comparison (fgl compare)",
    "sweep": "a sweep (fgl sweep)",
    "adapted": "an adapted generator (fgl adapt)",
    "private": "what a client keeps (fgl client prepare)",
}
_SOURCE = ("name", "path", "subset", "config")
"""Options of a dataset that say where it comes from; the others say what is made of it."""
_SHOWN = 5  # entries of a folder that a message names


def check(folder: OwnedFolder, replace: bool = False, option: str = "--out") -> None:
    """Whether `folder` may be written to as what its `kind` says. replace: whether fgl's own files of another kind are
    to make way. Raises ConfigError, and StoreError for a run whose clients are elsewhere or that fgl 0.1 wrote."""
    found, root = kind_of(folder.root), folder.root
    if not replace:
        refuse_outdated(root, _or_replace(option))
    if found in (NEW, folder.kind) or (found and replace):
        return
    if found == REMOTE and folder.kind == "run":
        raise StoreError(
            f"{root} is kept by fgl server ingest: go on with fgl server run {root}, or choose another folder"
            f"{_or_replace(option, 'the uploads of the clients')}"
        )
    if found:
        expected = f"it holds {_KINDS.get(found, found)}; expected another folder{_or_replace(option)}"
        raise ConfigError([Problem(option, str(root), expected)], "the command line")
    names = sorted(plain(path.name) for path in root.iterdir())
    some = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    wanted = _KINDS[folder.kind].partition(" (")[0]
    expected = f"it holds {some}, which fgl did not write; expected a new or empty folder, or {wanted} of fgl's"
    raise ConfigError([Problem(option, str(root), expected)], "the command line")


def _or_replace(option: str, what: str = "what fgl wrote there") -> str:
    flag = {"--out": "--replace", "out": "replace=True"}.get(option)
    return f", or {flag}, which first removes {what}" if flag is not None else ""


def begins(folder: RunDir) -> bool:
    """Whether a run whose clients are elsewhere would begin in `folder`. Raises ConfigError where it holds something
    else that is not fgl's."""
    refuse_outdated(folder.root)
    if folder.path("config.yaml").exists():
        return False  # whether it is a run's is told by whoever reads it
    if kind_of(folder.root) != REMOTE:
        check(folder, option="RUN")
    return True


def check_session(session: Session, replace: bool = False, option: str = "--out") -> None:
    """`check`, and whether the run there, if there is one, is of the same data, which must not lie in it. Raises
    ConfigError."""
    check(session.run, replace, option)
    check_beside(session.config, session.run.root, option)
    other = other_data(session)
    if other and not replace:
        mine = _words(session.config.to_dict()["dataset"])
        expected = f"it holds a run of {other}, and this one is of {mine}; expected another folder{_or_replace(option)}"
        raise ConfigError([Problem(option, str(session.run.root), expected)], "the command line")


def claim(session: Session, replace: bool = False, option: str = "--out") -> None:
    """With the lock held: `check_session` once more, since another process may have been here, and remove what is to
    make way."""
    check_session(session, replace, option)
    if replace and (must_make_way(session.run) or other_data(session)):
        clear(session.run)


def must_make_way(folder: OwnedFolder) -> bool:
    """Whether what is there is of another kind, or fgl 0.1 wrote it."""
    return kind_of(folder.root) not in (NEW, folder.kind) or is_outdated(folder.root)


def clear(folder: OwnedFolder) -> None:
    """Remove all that fgl wrote, with the lock held, and say what the folder is from now on."""
    folder.remove_all()
    folder.ledger.begin(folder.kind)


def other_data(session: Session) -> str:
    """The data of the run that is there, in words; "" where there is none, or it is this session's. The same data at
    another place is the same, and so is a place whose data has changed: then the run is recomputed from what is new."""
    run: RunDir = session.run
    try:
        saved = read_yaml(run.path("config.yaml")).get("dataset")
    except ConfigError:
        return ""
    if not isinstance(saved, Mapping) or _source(saved) == _source(session.config.to_dict()["dataset"]):
        return ""
    records = [record for stage in ("partition", "evaluate") if (record := run.recorded(stage)) is not None]
    return "" if session.info.digest in {record["inputs"].get("dataset") for record in records} else _words(saved)


def _source(dataset: Mapping[str, object]) -> dict[str, object]:
    return {key: dataset.get(key) for key in _SOURCE}


def _words(dataset: Mapping[str, object]) -> str:
    parts = [str(value) for key in _SOURCE if (value := dataset.get(key)) is not None]
    return plain(" ".join(parts))


def check_beside(config: RunConfig, root: Path, option: str = "--out") -> None:
    """Raises ConfigError where results would lie among the dataset's files, or the dataset among the results."""
    out = root.resolve()
    for key in ("path", "test_path"):
        value = config.dataset.options.get(key)
        if not isinstance(value, str) or not Path(value).expanduser().exists():
            continue
        data = Path(value).expanduser().resolve()
        if out.is_relative_to(data):
            expected = f"expected a folder outside of the dataset's ({value})"
        elif data.is_relative_to(out):
            expected = f"expected a folder that does not hold the dataset ({value})"
        else:
            continue
        raise ConfigError([Problem(option, str(root), expected)], "the command line")
