"""What every federation must hold to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fgl.contracts.boundary import is_simulated
from fgl.contracts.federation import ClientFailure, Federation
from fgl.contracts.progress import NullProgress
from fgl.testing import tasks


class FederationContract:
    """A federation carries bytes to clients and back, and of what fails there only what is cleared for the server.

    Its clients run the tasks of `fgl.testing.tasks`. Override the fixture `clients` where they have other ids."""

    @staticmethod
    def make() -> Federation:
        raise NotImplementedError("set `make = staticmethod(lambda: YourFederation(YourOptions()))` in the test class")

    @pytest.fixture
    def clients(self) -> list[str]:
        """Ids of three clients, in order."""
        return ["client-00", "client-01", "client-02"]

    def answers(
        self, clients: list[str], task: str, payload: Callable[[str], bytes] = lambda _: b"?"
    ) -> dict[str, bytes | ClientFailure]:
        replies = list(self.make().call(clients, f"fgl.testing.tasks:{task}", payload, NullProgress()))
        assert [client_id for client_id, _ in replies] == clients, "replies do not come in the order of the ids"
        return dict(replies)

    def test_bytes_arrive_as_they_were_sent(self, clients: list[str]) -> None:
        for payload in (b"", bytes(range(256)) * 5, b"\r\n\0" * 400_000):
            for client_id, reply in self.answers(clients, "echo", lambda _, data=payload: data).items():  # type: ignore[misc]
                assert reply == payload[::-1], f"{client_id} did not get, or did not return, the same bytes"

    def test_each_client_gets_its_own_and_replies_come_in_the_order_of_the_ids(self, clients: list[str]) -> None:
        for order in (clients, clients[::-1]):
            replies = self.answers(order, "echo", str.encode)
            assert replies == {client_id: client_id.encode()[::-1] for client_id in order}

    def test_what_a_task_prints_is_not_part_of_its_reply(self, clients: list[str]) -> None:
        assert set(self.answers(clients, "chatty", lambda _: b"reply").values()) == {b"reply"}

    def test_a_cleared_message_is_the_reason_of_a_failure(self, clients: list[str]) -> None:
        for client_id, reply in self.answers(clients, "refuse").items():
            assert reply == ClientFailure(client_id, tasks.CLEARED)

    @pytest.mark.parametrize("task", ["crash", "leave"])
    def test_any_other_error_is_a_failure_that_names_nothing_of_the_clients(
        self, clients: list[str], task: str
    ) -> None:
        for client_id, reply in self.answers(clients, task).items():
            assert isinstance(reply, ClientFailure), f"{client_id} raised, and its reply is {reply!r}"
            assert reply.client_id == client_id
            assert reply.reason.strip()
            assert not any(part in reply.reason for part in ("ward-7", "patient")), (
                f"the message of an error that is not cleared has crossed: {reply.reason}"
            )

    def test_one_clients_failure_does_not_stop_the_others(self, clients: list[str]) -> None:
        replies = self.answers(clients, "some_fail", lambda client_id: b"fail" if client_id == clients[0] else b"go")
        assert replies == {
            client_id: ClientFailure(client_id, tasks.CLEARED) if client_id == clients[0] else b"go"
            for client_id in clients
        }

    def test_a_task_that_is_not_there_is_a_failure(self, clients: list[str]) -> None:
        replies = self.answers(clients, "no_such_task")
        assert all(isinstance(reply, ClientFailure) for reply in replies.values())

    def test_tasks_run_in_a_simulation_or_under_a_sites_policy(self, clients: list[str]) -> None:
        assert set(self.answers(clients, "within_a_boundary").values()) == {b"yes"}
        assert not is_simulated(), "the server's own code is taken for a simulated client's after the call"

    def test_no_clients_give_no_replies(self) -> None:
        assert self.answers([], "echo") == {}
