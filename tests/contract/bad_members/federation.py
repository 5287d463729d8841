"""Federations that break one promise each."""

from __future__ import annotations

from importlib import import_module

from fgl.contracts.boundary import simulated
from fgl.contracts.federation import ClientFailure
from fgl.errors import FGLError
from fgl.plugins.federations.local import LocalFederation
from fgl.plugins.federations.options import LocalOptions
from fgl.testing.contracts import FederationContract


class Bad(LocalFederation):
    """Sound, until `spoil` changes the replies."""

    def __init__(self, spoil=lambda replies: replies):
        super().__init__(LocalOptions())
        self.spoil = spoil

    def call(self, client_ids, task, payload, progress):
        yield from self.spoil(list(super().call(client_ids, task, payload, progress)))


def called(client_id, task, payload):
    """The task's own reply, whatever it raises."""
    module, _, name = task.partition(":")
    with simulated():
        return client_id, getattr(import_module(module), name)(payload(client_id))


class Raises(Bad):
    """A client's error ends the call."""

    def call(self, client_ids, task, payload, progress):
        for client_id in client_ids:
            yield called(client_id, task, payload)


class TellsAll(Bad):
    """The words of any error cross."""

    def call(self, client_ids, task, payload, progress):
        for client_id in client_ids:
            try:
                yield called(client_id, task, payload)
            except BaseException as error:
                yield client_id, ClientFailure(client_id, str(error))


class TellsNothing(Bad):
    """Not even what is cleared."""

    def call(self, client_ids, task, payload, progress):
        for client_id in client_ids:
            try:
                yield called(client_id, task, payload)
            except BaseException:
                yield client_id, ClientFailure(client_id, "failed")


class StopsAtTheFirst(Bad):
    def call(self, client_ids, task, payload, progress):
        for client_id in client_ids:
            try:
                yield called(client_id, task, payload)
            except FGLError as error:
                yield client_id, ClientFailure(client_id, str(error))
                return


class Outside(Bad):
    """Tasks run as the server's own code."""

    def call(self, client_ids, task, payload, progress):
        for client_id in client_ids:
            module, _, name = task.partition(":")
            yield client_id, getattr(import_module(module), name)(payload(client_id))


class SamePayload(Bad):
    """All clients get what is the first one's."""

    def call(self, client_ids, task, payload, progress):
        yield from super().call(client_ids, task, lambda _: payload(client_ids[0]), progress)


class Always(Bad):
    """Replies although there is nobody."""

    def call(self, client_ids, task, payload, progress):
        yield from super().call(client_ids or ["nobody"], task, payload, progress)


class RefuseLostZeros(FederationContract):
    refused_by = "test_bytes_arrive_as_they_were_sent"
    make = staticmethod(lambda: Bad(lambda found: [(name, one.replace(b"\x00", b"")) for name, one in found]))


class RefuseSamePayload(FederationContract):
    refused_by = "test_each_client_gets_its_own_and_replies_come_in_the_order_of_the_ids"
    make = SamePayload


class RefuseSortedReplies(FederationContract):
    refused_by = "test_each_client_gets_its_own_and_replies_come_in_the_order_of_the_ids"
    make = staticmethod(lambda: Bad(sorted))


class RefuseOutputInReply(FederationContract):
    refused_by = "test_what_a_task_prints_is_not_part_of_its_reply"
    make = staticmethod(lambda: Bad(lambda found: [(name, b"loading the model\n" + one) for name, one in found]))


class RefuseTellsNothing(FederationContract):
    refused_by = "test_a_cleared_message_is_the_reason_of_a_failure"
    make = TellsNothing


class RefuseTellsAll(FederationContract):
    refused_by = "test_any_other_error_is_a_failure_that_names_nothing_of_the_clients"
    make = TellsAll


class RefuseRaises(FederationContract):
    refused_by = "test_any_other_error_is_a_failure_that_names_nothing_of_the_clients"
    make = Raises


class RefuseStopsAtTheFirst(FederationContract):
    refused_by = "test_one_clients_failure_does_not_stop_the_others"
    make = StopsAtTheFirst


class RefuseNoSuchTask(FederationContract):
    refused_by = "test_a_task_that_is_not_there_is_a_failure"
    make = Raises


class RefuseOutside(FederationContract):
    refused_by = "test_tasks_run_in_a_simulation_or_under_a_sites_policy"
    make = Outside


class RefuseAlways(FederationContract):
    refused_by = "test_no_clients_give_no_replies"
    make = Always
