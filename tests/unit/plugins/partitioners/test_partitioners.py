"""How samples are divided among clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fgl.errors import PartitionError
from fgl.plugins.partitioners import fgl_partitioners
from fgl.plugins.partitioners.dirichlet import Dirichlet, draw_counts
from fgl.plugins.partitioners.domain import DomainPartitioner
from fgl.plugins.partitioners.iid import IID
from fgl.plugins.partitioners.listed import ListedPartitioner
from fgl.plugins.partitioners.options import DirichletOptions, DomainOptions, IIDOptions, ListedOptions

LABELS = np.repeat(np.arange(10, dtype=np.int64), 350)
DOMAINS = ["noto", "fluent", "twemoji"] * 100
DOMAIN_LABELS = np.arange(300, dtype=np.int64) % 10


def covers_once(parts: Mapping[str, list[int]], samples: int) -> bool:
    dealt = [index for part in parts.values() for index in part]
    return sorted(dealt) == list(range(samples)) and all(part == sorted(part) for part in parts.values())


def skew(parts: Mapping[str, list[int]]) -> float:
    """Mean share of a client's commonest class: 0.1 for equal classes, 1 for a single class."""
    return float(np.mean([max(Counter(LABELS[part].tolist()).values()) / len(part) for part in parts.values()]))


def test_names_of_the_built_ins() -> None:
    assert [component.name for component in fgl_partitioners()] == ["iid", "dirichlet", "domain", "listed"]


def test_a_file_says_who_holds_what_and_the_rest_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "who.json"
    path.write_text('{"b": [5, 1, 3], "a": [0]}')
    assert ListedPartitioner(ListedOptions(path=str(path))).partition(LABELS, None, 0) == {"b": [1, 3, 5], "a": [0]}
    assert list(ListedPartitioner(ListedOptions(path=str(path))).partition(LABELS, None, 0)) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it is not JSON"),
        ("[]", "no client ids"),
        ("{}", "no client ids"),
        ('{"../x": [1]}', "no client ids"),
        ('{"a": [1, 1.5]}', "positions from 0 to 3499"),
        ('{"a": [3500]}', "from a run on the same data"),
        ('{"a": [-1]}', "positions from 0"),
        ('{"a": [true]}', "positions from 0"),
        ('{"a": [1, 2], "b": [2]}', "sample 2 belongs to both a and b"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_does_not_say_so_is_an_error(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "who.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PartitionError, match=said):
        ListedPartitioner(ListedOptions(path=str(path))).partition(LABELS, None, 0)


PARTITIONERS = [
    pytest.param(IID(IIDOptions()), id="iid"),
    pytest.param(Dirichlet(DirichletOptions()), id="dirichlet"),
    pytest.param(DomainPartitioner(DomainOptions(clients=6)), id="domain"),
]


@pytest.mark.parametrize("partitioner", PARTITIONERS)
def test_every_sample_goes_to_exactly_one_client(partitioner: IID | Dirichlet | DomainPartitioner) -> None:
    assert covers_once(partitioner.partition(DOMAIN_LABELS, DOMAINS, seed=3), 300)


@pytest.mark.parametrize("partitioner", PARTITIONERS)
def test_the_seed_decides_and_nothing_else(partitioner: IID | Dirichlet | DomainPartitioner) -> None:
    np.random.seed(1)
    first = partitioner.partition(DOMAIN_LABELS, DOMAINS, seed=7)
    np.random.seed(2)
    state = np.random.get_state()[1].copy()
    assert partitioner.partition(DOMAIN_LABELS, DOMAINS, seed=7) == first
    assert (np.random.get_state()[1] == state).all(), "the global generator was drawn from"
    assert partitioner.partition(DOMAIN_LABELS, DOMAINS, seed=8) != first


@pytest.mark.parametrize("partitioner", PARTITIONERS)
def test_positions_are_plain_integers_that_json_can_hold(partitioner: IID | Dirichlet | DomainPartitioner) -> None:
    parts = partitioner.partition(DOMAIN_LABELS, DOMAINS, seed=0)
    assert {type(index) for part in parts.values() for index in part} == {int}


def test_iid_parts_differ_in_size_by_at_most_one() -> None:
    parts = IID(IIDOptions(clients=3)).partition(LABELS[:100], None, seed=0)
    assert sorted(len(part) for part in parts.values()) == [33, 33, 34]


def test_one_iid_client_holds_everything() -> None:
    assert IID(IIDOptions(clients=1)).partition(LABELS, None, seed=0) == {"client-00": list(range(3500))}


def test_client_names_sort_like_their_numbers() -> None:
    few, many = (list(IID(IIDOptions(clients=n)).partition(LABELS, None, 0)) for n in (5, 101))
    assert few == ["client-00", "client-01", "client-02", "client-03", "client-04"]
    assert many == sorted(many)
    assert (many[0], many[-1]) == ("client-000", "client-100")


def test_more_clients_than_samples_is_refused() -> None:
    with pytest.raises(PartitionError, match="3 samples cannot give 4 clients one each; lower clients"):
        IID(IIDOptions(clients=4)).partition(LABELS[:3], None, seed=0)


def test_a_small_beta_skews_classes_and_a_large_one_does_not() -> None:
    skewed = Dirichlet(DirichletOptions(beta=0.01)).partition(LABELS, None, seed=0)
    mild = Dirichlet(DirichletOptions(beta=0.5)).partition(LABELS, None, seed=0)
    even = Dirichlet(DirichletOptions(beta=1000.0)).partition(LABELS, None, seed=0)
    assert skew(skewed) > 0.4 > skew(even)
    assert skew(skewed) > skew(mild) > skew(even)
    assert skew(even) < 0.13


def test_every_client_has_the_asked_minimum() -> None:
    for seed in range(20):
        parts = Dirichlet(DirichletOptions(min_samples=40)).partition(LABELS, None, seed)
        assert min(len(part) for part in parts.values()) >= 40


def test_a_full_client_gets_nothing_of_the_next_class() -> None:
    sizes = np.full(10, 350)
    for seed in range(50):
        counts = draw_counts(sizes, 5, 0.01, np.random.default_rng(seed))
        before = np.cumsum(counts, axis=0) - counts
        assert (counts[before >= 700] == 0).all()


def test_shares_follow_the_dirichlet_distribution() -> None:
    """Before anyone is full a class is a symmetric Dirichlet: mean 1/k, variance (k-1) / (k^2 (k beta + 1))."""
    rng = np.random.default_rng(0)
    shares = np.array([draw_counts(np.full(10, 1000), 4, 0.5, rng)[0] for _ in range(4000)]) / 1000
    assert shares.mean(axis=0) == pytest.approx([0.25] * 4, abs=0.02)
    assert shares.var(axis=0) == pytest.approx([3 / (16 * 3)] * 4, abs=0.006)


def test_five_clients_at_beta_001_are_met_in_nine_draws_of_ten() -> None:
    rng = np.random.default_rng(0)
    met = [draw_counts(np.full(10, 350), 5, 0.01, rng).sum(axis=0).min() >= 10 for _ in range(400)]
    assert 0.87 < np.mean(met) < 0.97


def test_an_impossible_skew_says_what_was_reached_and_what_to_change() -> None:
    options = DirichletOptions(clients=20, beta=0.01, max_tries=30)
    with pytest.raises(PartitionError) as caught:
        Dirichlet(options).partition(LABELS, None, seed=0)
    message = str(caught.value)
    assert "no draw in 30 gave each of 20 clients 10 samples at beta 0.01" in message
    assert "the smallest client had 0; raise beta, lower clients or lower min_samples" in message


def test_too_few_samples_for_the_minimum_is_refused_without_trying() -> None:
    with pytest.raises(PartitionError, match="49 samples cannot give 5 clients 10 each; lower clients or min_samples"):
        Dirichlet(DirichletOptions(max_tries=10**9)).partition(LABELS[:49], None, seed=0)


@pytest.mark.parametrize("beta", [1e-300, 1e-5, 0.01, 0.5, 10.0, 1e6])
def test_a_draw_deals_every_sample_of_every_class(beta: float) -> None:
    cases = np.random.default_rng(0)
    for seed in range(60):
        clients = int(cases.integers(1, 13))
        sizes = cases.integers(1, 41, size=int(cases.integers(1, 13)))
        counts = draw_counts(sizes, clients, beta, np.random.default_rng(seed))
        assert counts.shape == (len(sizes), clients)
        assert (counts >= 0).all()
        assert counts.sum(axis=1).tolist() == sizes.tolist()


@pytest.mark.parametrize(
    "values", [{"beta": 0.0}, {"beta": float("nan")}, {"clients": 0}, {"clients": "5"}, {"bta": 1}]
)
def test_nonsense_options_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DirichletOptions.model_validate(values)


def test_each_domain_is_a_client_in_the_order_of_names() -> None:
    parts = DomainPartitioner(DomainOptions()).partition(DOMAIN_LABELS, DOMAINS, seed=0)
    assert list(parts) == ["fluent", "noto", "twemoji"]
    assert [{DOMAINS[index] for index in part} for part in parts.values()] == [{"fluent"}, {"noto"}, {"twemoji"}]


def test_more_clients_divide_each_domain_evenly() -> None:
    parts = DomainPartitioner(DomainOptions(clients=6)).partition(DOMAIN_LABELS, DOMAINS, seed=0)
    assert [len(part) for part in parts.values()] == [50] * 6
    assert [{DOMAINS[index] for index in part} for part in parts.values()] == [
        {"fluent"},
        {"fluent"},
        {"noto"},
        {"noto"},
        {"twemoji"},
        {"twemoji"},
    ]


@pytest.mark.parametrize("clients", [2, 4])
def test_clients_that_do_not_fit_the_domains_are_refused(clients: int) -> None:
    with pytest.raises(PartitionError, match="set clients to a multiple of 3"):
        DomainPartitioner(DomainOptions(clients=clients)).partition(DOMAIN_LABELS, DOMAINS, seed=0)


def test_a_dataset_without_domains_cannot_be_divided_by_domain() -> None:
    with pytest.raises(PartitionError, match="has no domains; choose the partitioner iid or dirichlet"):
        DomainPartitioner(DomainOptions()).partition(LABELS, None, seed=0)


def test_a_domain_too_small_to_divide_is_named() -> None:
    with pytest.raises(PartitionError, match="the domain 'b' has 1 samples for 2 clients"):
        DomainPartitioner(DomainOptions(clients=4)).partition(LABELS[:4], ["a", "a", "a", "b"], seed=0)


def test_clients_are_called_after_their_domains() -> None:
    names = ["Hospital E", "hospital-e", "Klinik Süd", "病院", "../up"]
    parts = DomainPartitioner(DomainOptions()).partition(LABELS[:5], names, seed=0)
    assert {names[rows[0]]: client for client, rows in parts.items()} == {
        "Hospital E": "hospital-e",
        "hospital-e": "hospital-e-2",
        "Klinik Süd": "klinik-sud",
        "病院": "client-04",
        "../up": "up",
    }


def test_clients_that_share_a_domain_are_numbered() -> None:
    parts = DomainPartitioner(DomainOptions(clients=6)).partition(DOMAIN_LABELS, DOMAINS, seed=0)
    assert list(parts) == ["fluent-0", "fluent-1", "noto-0", "noto-1", "twemoji-0", "twemoji-1"]
