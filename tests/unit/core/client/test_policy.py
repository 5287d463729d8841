"""What a site's owner says is stronger than what a request asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from fgl.contracts.boundary import simulated
from fgl.contracts.classifier import FitContext
from fgl.core.client import adapting, evaluation, policy, prepare, private_folder, probe, tasks
from fgl.core.client import training as client_training
from fgl.core.client.policy import Policy, at_site, split
from fgl.core.config.resolve import resolve
from fgl.core.config.schema import RunConfig
from fgl.core.plugin_manager import PluginManager
from fgl.core.registry import Entry
from fgl.core.wire import requests, updates
from fgl.errors import ClientFailedError, ConfigError, PolicyError

CLASSES = ["benign", "malignant"]


@pytest.fixture(scope="module")
def manager() -> PluginManager:
    return PluginManager.load()


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """A hospital's images: three of each class."""
    for number, name in enumerate(CLASSES):
        folder = tmp_path / "ward" / name
        folder.mkdir(parents=True)
        for index in range(3):
            pixels = np.full((8, 8, 3), 40 * number + index, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "ward"


def shared(**changes: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"upload": {"clients": ["north"], "run_id": "r"}, **changes}
    return asked | {"upload": {"clients": ["north"], "run_id": "r", **changes.get("upload", {})}}


def of(ward: Path, site: Mapping[str, Any] | None = None, **own: Any) -> Policy:
    return split(
        [{"dataset": {"name": "imagefolder", "path": str(ward)}, "site": dict(site or {}), **own}], "site.yaml"
    )


def request(config: RunConfig, private: Path) -> bytes:
    return requests.prepare_request(config, "north", 0, private, "cpu", "")


def secret(tmp_path: Path) -> Path:
    path = tmp_path / "patients.csv"
    path.write_text("class,prompt\nbenign,Alice Example of ward 7\nmalignant,Bob Example\n")
    return path


# --- a request over a wire ------------------------------------------------------------------------------------------


def test_a_server_that_asks_for_a_file_of_the_clients_disk_as_prompts_gets_nothing(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    """Attack B23: prompts-file with any CSV and the codec text would be exfiltration, `private` an arbitrary write."""
    evil = shared(
        dataset={"name": "imagefolder", "path": str(ward), "class_names": CLASSES},
        prompt_strategy={"name": "prompts-file", "path": str(secret(tmp_path))},
        upload={"codec": "text"},
    )
    asked = request(resolve([evil], manager.registry), tmp_path / "anywhere")
    with pytest.raises(ClientFailedError, match="ConfigError at the client"):
        tasks.answer_prepare(asked)  # no owner has said anything: not even a dataset
    private = tmp_path / "kept"
    with at_site(of(ward), private), pytest.raises(ClientFailedError) as caught:
        tasks.answer_prepare(asked)
    assert "PolicyError at the client: the site's policy does not allow what was asked" in str(caught.value)
    assert "patients" not in str(caught.value)
    said = (private / private_folder.ERROR).read_text()
    assert "upload.codec: got 'text'; site.codecs allows fp16, fp32, int8" in said
    assert "prompt_strategy.path" in said
    assert not (tmp_path / "anywhere").exists()
    with simulated():  # on one's own machine it is one's own configuration
        assert b"Alice Example" in tasks.answer_prepare(asked)


def test_what_the_owner_allows_is_answered_and_kept_where_the_owner_says(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    config = resolve(
        [shared(prompt_strategy={"name": "prompts-file", "path": str(secret(tmp_path))}, upload={"codec": "text"})],
        manager.registry,
    )
    site = {"codecs": ["text"], "paths": [str(tmp_path / "patients.csv")], "private": str(tmp_path / "kept")}
    with at_site(of(ward, site)):
        reply = tasks.answer_prepare(request(config, tmp_path / "anywhere"))
    assert b"Alice Example" in reply
    assert not (tmp_path / "anywhere").exists()
    assert {path.name for path in (tmp_path / "kept").iterdir()} >= {"prompts.jsonl", "summary.json"}


def test_without_a_private_folder_of_the_sites_own_nothing_is_answered(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    with at_site(of(ward)), pytest.raises(PolicyError, match=r"site\.private"):
        prepare.prepare(request(resolve([shared()], manager.registry), tmp_path / "anywhere"))
    assert not (tmp_path / "anywhere").exists()


@pytest.mark.parametrize("task", ["adapt", "evaluate", "probe", "rounds"])
def test_only_tasks_that_the_owner_named_are_done(
    ward: Path, tmp_path: Path, manager: PluginManager, task: str
) -> None:
    head = json.loads(request(resolve([shared()], manager.registry), tmp_path))
    packed = save({}, {"request": json.dumps({**head, "size": [8, 8], "per_class": 1, "learnt": False})})
    ask: dict[str, Callable[[], bytes]] = {
        "rounds": lambda: client_training.train({**head, "name": "fedavg"}, memoryview(b"")),
        "adapt": lambda: adapting.adapt({**head, "name": "adapter"}, memoryview(b"")),
        "evaluate": lambda: evaluation.evaluate(packed),
        "probe": lambda: probe.probe(packed),
    }
    with at_site(of(ward), tmp_path / "kept"), pytest.raises(PolicyError, match=rf"task: got '{task}'; site\.tasks"):
        ask[task]()


def test_a_round_cannot_choose_a_folder_outside_of_the_private_one(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    head = json.loads(request(resolve([shared()], manager.registry), tmp_path))
    for name in ("../../x", "/x", "..", "a/b"):
        with at_site(of(ward, {"tasks": ["rounds"]}), tmp_path / "kept"), pytest.raises(PolicyError, match="name: got"):
            client_training.train({**head, "name": name}, memoryview(b""))


def test_the_components_of_a_round_are_judged_too(ward: Path, tmp_path: Path, manager: PluginManager) -> None:
    config = resolve([shared()], manager.registry)
    head = json.loads(request(config, tmp_path))
    other = {"name": "transformers", "options": {"preset": "none", "pretrained": "/home/alice/model"}}
    asked = {**head, "name": "fedavg", "algorithm": {"name": "fedavg", "options": {}}, "classifier": other}
    rules = at_site(of(ward, {"tasks": ["rounds"]}), tmp_path / "kept")
    odd = {**asked, "classifier": {"name": "transformers", "options": {"preset": 7}}}
    with (
        at_site(of(ward, {"tasks": ["rounds"]}), tmp_path / "kept"),
        pytest.raises(ConfigError, match=r"preset: got 7"),
    ):
        client_training.train(odd, memoryview(b""))
    with rules, pytest.raises(PolicyError, match=r"classifier\.pretrained: got '/home/alice/model'"):
        client_training.train(asked, memoryview(b""))


def test_a_task_that_is_allowed_is_done_on_the_sites_own_images_and_in_its_own_folder(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    """The server's configuration names its own test images; counts and models are of the site's."""
    theirs = {"name": "imagefolder", "path": "/srv/test", "holds": "test", "class_names": CLASSES}
    small = {"name": "small", "image_size": 16, "epochs": 1}
    config = resolve([shared(dataset=theirs, classifier=small)], manager.registry)
    classifier = manager.create("classifier", config.classifier)
    state = classifier.initial(FitContext(class_names=tuple(CLASSES), seed=0, device="cpu")).state("last")
    nowhere, prepared = str(tmp_path / "anywhere"), classifier.preparation((8, 8))
    asked = requests.task_request(config, "north", "cpu", "", state, prepare=prepared.inputs(), private=nowhere)
    training = requests.Training(config, "fedavg", config.algorithm, config.classifier, 1, prepared, "cpu", "", "d")
    message = updates.encode(updates.Header("skin-1", "north", 1), state, {}, updates.DONE)
    with at_site(of(ward, {"tasks": ["evaluate", "rounds"]}), tmp_path / "kept"):
        said = json.loads(tasks.answer_evaluate(asked))
        update = tasks.answer_train(requests.train_request(training, "north", 1, tmp_path / "anywhere", message))
    assert said["total"] == 6
    assert b'"samples": 6' in update.replace(b"\\", b"")
    assert not (tmp_path / "anywhere").exists()


# --- a shared file --------------------------------------------------------------------------------------------------


def test_a_site_names_its_dataset_itself_and_takes_from_others_what_classes_are_called(
    ward: Path, manager: PluginManager
) -> None:
    theirs = {
        "name": "imagefolder",
        "path": "/srv/test",
        "holds": "all",
        "class_names": ["a", "benign", "malignant"],
        "max_per_class": 1,
        "test_path": "/etc",
    }
    config = of(ward).configure(shared(dataset=theirs), manager)
    options = config.dataset.options
    assert (options["path"], options["holds"]) == (str(ward), "train")
    assert options["class_names"] == ["a", "benign", "malignant"]
    assert (options["max_per_class"], options["test_path"]) == (None, None)
    kept = split([{"dataset": {"path": str(ward), "holds": "all", "class_names": CLASSES}}], "site.yaml")
    options = kept.configure(shared(dataset=theirs), manager).dataset.options
    assert (options["holds"], options["class_names"]) == ("all", CLASSES)


@pytest.mark.parametrize("theirs", [None, "bundled", "bundled:emoji", {"name": "imagefolder", "path": "/home/alice"}])
def test_the_dataset_of_a_shared_file_is_never_sent_in_a_sites_name(manager: PluginManager, theirs: Any) -> None:
    asked = shared() if theirs is None else shared(dataset=theirs)
    for own in ([], [{"seed": 1}], [{"dataset": {"holds": "train"}}], [{"dataset": {"class_names": CLASSES}}]):
        with pytest.raises(ConfigError, match="expected a dataset of the site's own"):
            split(own, "site.yaml").configure(asked, manager)


def test_clients_of_a_partition_are_no_site(ward: Path, manager: PluginManager) -> None:
    with pytest.raises(PolicyError, match=r"upload\.clients: got null.*--simulate"):
        of(ward).configure({"partition": {"clients": 2}}, manager)


def test_what_a_site_says_itself_needs_no_permission(ward: Path, tmp_path: Path, manager: PluginManager) -> None:
    own = {"prompt_strategy": {"name": "prompts-file", "path": str(secret(tmp_path))}, "upload": {"codec": "text"}}
    config = of(ward, **own).configure(shared(), manager)
    assert (config.prompt_strategy.name, config.upload.codec) == ("prompts-file", "text")


def test_everything_that_may_not_be_asked_is_named_at_once_with_the_rule_and_what_to_do(
    ward: Path, manager: PluginManager
) -> None:
    rules = {"prompt_strategies": ["class-name"], "codecs": ["fp32"], "hub_models": ["stabilityai/*"]}
    asked = shared(
        prompt_strategy={"name": "caption", "model": "else/where"},
        generator={"name": "sd15", "model": "~/model"},
        upload={"codec": "int8"},
    )
    with pytest.raises(PolicyError) as caught:
        of(ward, rules).configure(asked, manager)
    said = str(caught.value)
    for part in (
        "upload.codec: got 'int8'; site.codecs allows fp32; to allow it, add it to site.codecs",
        "prompt_strategy: got 'caption'; site.prompt_strategies allows class-name",
        "prompt_strategy.model: got 'else/where'; site.hub_models allows stabilityai/*",
        "generator.model: got '~/model'; site.paths allows none; to allow it, add it to site.paths in the site's "
        "own file, or give this option there",
    ):
        assert part in said
    assert of(ward, {"hub_models": ["stabilityai/*"]}).configure(shared(generator="sd-turbo"), manager)


def test_a_path_is_refused_alike_whether_or_not_something_is_there(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    said = set()
    for path in (secret(tmp_path), tmp_path / "nothing.csv", tmp_path):
        with pytest.raises(PolicyError) as caught:
            of(ward).configure(shared(prompt_strategy={"name": "prompts-file", "path": str(path)}), manager)
        said.add(str(caught.value).replace(str(path), "PATH"))
    assert len(said) == 1


def test_plugins_of_others_may_be_asked_for_as_far_as_the_owner_lists_them(ward: Path) -> None:
    manager = PluginManager.load()
    component = replace(manager.registry.find("prompt_strategy", "class-name").component, name="theirs")
    manager.registry.add(Entry("prompt_strategy", component, "plugin", "their-prompts"))
    asked = shared(prompt_strategy="theirs")
    for rules in ({}, {"plugins": ["their-prompts"]}):
        assert of(ward, rules).configure(asked, manager).prompt_strategy.name == "theirs"
    with pytest.raises(PolicyError, match=r"prompt_strategy: got 'theirs of their-prompts'; site\.plugins allows none"):
        of(ward, {"plugins": []}).configure(asked, manager)
    assert of(ward, {"plugins": []}).configure(shared(), manager), "what fgl brings is no plugin of others"


def test_the_sites_data_is_not_to_be_read_as_something_else(ward: Path, manager: PluginManager) -> None:
    asked = shared(prompt_strategy={"name": "prompts-file", "path": str(ward)})
    with pytest.raises(PolicyError, match=r"site\.paths allows none"):
        of(ward).configure(asked, manager)


@pytest.mark.parametrize(
    "asked",
    [
        "{root}/../patients.csv",
        "{root}/link.csv",
        "{root}/links/patients.csv",
        "{home}/patients.csv",
        "/etc/hostname",
        "~/.ssh/id_ed25519",
        "../../etc/hostname",
        "not-there.csv",
    ],
)
def test_neither_dots_nor_links_lead_out_of_what_may_be_read(
    ward: Path, tmp_path: Path, manager: PluginManager, asked: str
) -> None:
    root = tmp_path / "prompts"
    root.mkdir()
    outside = secret(tmp_path)
    (root / "link.csv").symlink_to(outside)
    (root / "links").symlink_to(tmp_path)
    path = asked.format(root=root, home=tmp_path)
    with pytest.raises(PolicyError, match=r"prompt_strategy\.path: .*site\.paths allows"):
        of(ward, {"paths": [str(root)]}).configure(
            shared(prompt_strategy={"name": "prompts-file", "path": path}), manager
        )


def test_a_file_below_an_allowed_folder_may_be_asked_for_however_the_way_there_is_written(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    root = tmp_path / "prompts"
    (root / "deep").mkdir(parents=True)
    (tmp_path / "alias").symlink_to(root)
    (root / "mine.csv").write_text(secret(tmp_path).read_text())
    for path in (root / "mine.csv", root / "deep" / ".." / "mine.csv", tmp_path / "alias" / "mine.csv"):
        asked = shared(prompt_strategy={"name": "prompts-file", "path": str(path)})
        assert of(ward, {"paths": [str(root)]}).configure(asked, manager).prompt_strategy.options["path"] == str(path)


def test_words_that_happen_to_be_names_of_files_are_still_words(
    ward: Path, tmp_path: Path, manager: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ward)  # where folders are called as classes are
    asked = shared(
        prompt_strategy={"name": "class-name", "templates": ["/imagine {label}", "benign {label}"]},
        dataset={"class_names": CLASSES},
    )
    assert of(ward).configure(asked, manager).dataset.options["class_names"] == CLASSES


@pytest.mark.parametrize(
    ("section", "word"),
    [
        ("all", "site: got 'all'; expected a mapping"),
        ({"codec": ["text"]}, "site.codec: got ['text']; unknown option: did you mean 'codecs'?"),
        ({"codecs": ["zip"]}, "site.codecs"),
        ({"codecs": []}, "site.codecs"),
        ({"paths": ["prompts"]}, "is relative: expected a path from / or ~"),
        ({"private": "kept"}, "is relative: expected a path from / or ~"),
        ({"tasks": ["everything"]}, "site.tasks"),
    ],
)
def test_a_policy_that_says_something_wrong_is_no_policy(section: Any, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split([{"site": section}], "site.yaml")
    assert word in str(caught.value)


def test_a_policy_knows_every_task_that_clients_answer() -> None:
    named = set(policy.SiteOptions.model_fields["tasks"].annotation.__args__[0].__args__)  # type: ignore[union-attr]
    assert named == {"upload", "rounds", "adapt", "evaluate", "probe", "vote"}


# --- upload filters -------------------------------------------------------------------------------------------------


def test_only_upload_filters_that_the_owner_lists_may_be_asked_for(ward: Path, manager: PluginManager) -> None:
    asked = shared(upload={"filters": ["clip:3", "aggregate"]})
    assert len(of(ward).configure(asked, manager).upload.chain()) == 2
    with pytest.raises(
        PolicyError, match=r"upload\.filters: got 'aggregate'; site\.upload_filters allows clip"
    ) as caught:
        of(ward, {"upload_filters": ["clip"]}).configure(asked, manager)
    assert len(caught.value.problems) == 1
    own = of(ward, {"upload_filters": []}, upload={"filters": ["aggregate"]})
    assert [one.name for one in own.configure(asked, manager).upload.chain()] == ["aggregate"]


def test_filters_that_the_owner_requires_run_after_those_that_were_asked_for(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    policy = of(ward, {"required_filters": ["min-samples:3", {"name": "clip", "max_norm": 2.0}]})
    names = ["aggregate", "min-samples", "clip"]
    asked = policy.configure(shared(upload={"filters": "aggregate"}), manager)
    assert [one.name for one in asked.upload.chain()] == names
    again = policy.configure(shared(upload={"filters": asked.upload.filters}), manager)
    assert [one.name for one in again.upload.chain()] == names, "a chain that ends with them stays as it is"
    with pytest.raises(ConfigError, match=r"site\.required_filters: got 'clipp'.*did you mean 'clip'"):
        of(ward, {"required_filters": ["clipp"]}).configure(shared(), manager)


def test_noise_that_the_owner_requires_comes_first_and_once(ward: Path, manager: PluginManager) -> None:
    policy = of(ward, {"required_filters": ["clip:3", "gaussian-noise:8"]})

    def chain(*filters: str) -> list[str]:
        return [one.name for one in policy.configure(shared(upload={"filters": list(filters)}), manager).upload.chain()]

    assert chain() == ["gaussian-noise", "clip"]
    assert chain("aggregate") == ["gaussian-noise", "aggregate", "clip"]
    assert chain("gaussian-noise:8", "aggregate") == ["gaussian-noise", "aggregate", "clip"]
    with pytest.raises(PolicyError, match=r"upload\.filters: got .*gaussian-noise.*noise is added once"):
        chain("gaussian-noise:2")


def test_a_required_filter_that_withholds_everything_sends_nothing(
    ward: Path, tmp_path: Path, manager: PluginManager
) -> None:
    """Three samples of each class are fewer than ten, with texts as with numbers."""
    site = {"codecs": ["text"], "required_filters": ["min-samples:10"]}
    config = resolve([shared(upload={"codec": "text"})], manager.registry)
    with at_site(of(ward, site), tmp_path / "kept"), pytest.raises(ClientFailedError, match="upload that it wrote"):
        tasks.answer_prepare(request(config, tmp_path))
    assert "left no row of the upload of north" in (tmp_path / "kept" / private_folder.ERROR).read_text()
