"""Executors that break one promise each."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace

from fgl.plugins.executors.local import LocalExecutor
from fgl.testing.contracts import ExecutorContract


class ForgetsTheLast(LocalExecutor):
    def run(self, shards, work):
        super().run(shards[:-1], work)


class Twice(LocalExecutor):
    def run(self, shards, work):
        super().run([*shards, *shards], work)


class ReturnsEarly(LocalExecutor):
    def run(self, shards, work):
        def later():
            time.sleep(1)
            with suppress(OSError):  # the folder may be gone by then
                LocalExecutor.run(self, shards, work)

        threading.Thread(target=later, daemon=True).start()


class Cuts(LocalExecutor):
    def run(self, shards, work):
        super().run([replace(shard, items=shard.items[:1]) for shard in shards], work)


class SwallowsErrors(LocalExecutor):
    def run(self, shards, work):
        for shard in shards:
            with suppress(Exception):
                work(shard)


class OnceOnly(LocalExecutor):
    used = False

    def run(self, shards, work):
        if not self.used:
            super().run(shards, work)
        self.used = True


class TakesTheFirst(LocalExecutor):
    def run(self, shards, work):
        work(shards[0])
        super().run(shards[1:], work)


class RefuseForgetsTheLast(ExecutorContract):
    refused_by = "test_each_shard_is_worked_on_once_and_all_are_when_it_returns"
    make = ForgetsTheLast


class RefuseTwice(ExecutorContract):
    refused_by = "test_each_shard_is_worked_on_once_and_all_are_when_it_returns"
    make = Twice


class RefuseReturnsEarly(ExecutorContract):
    refused_by = "test_each_shard_is_worked_on_once_and_all_are_when_it_returns"
    make = ReturnsEarly


class RefuseCuts(ExecutorContract):
    refused_by = "test_a_shard_comes_whole"
    make = Cuts


class RefuseLostCommits(ExecutorContract):
    refused_by = "test_a_commit_that_ends_after_the_work_is_not_lost"
    make = ForgetsTheLast


class RefuseSwallowsErrors(ExecutorContract):
    refused_by = "test_an_error_of_the_work_reaches_the_caller"
    make = SwallowsErrors


class RefuseTakesTheFirst(ExecutorContract):
    refused_by = "test_no_shards_are_no_work"
    make = TakesTheFirst


class RefuseOnceOnly(ExecutorContract):
    refused_by = "test_it_can_be_asked_again"
    make = OnceOnly


class RefuseAutoAsDevice(ExecutorContract):
    refused_by = "test_a_device_is_named"
    make = type("Auto", (LocalExecutor,), {"device": lambda self, asked: asked})


class RefuseAnyDevice(ExecutorContract):
    refused_by = "test_a_device_that_is_not_there_is_a_model_error"
    make = type("Any", (LocalExecutor,), {"device": lambda self, asked: asked})


class RefuseObjectInEnvironment(ExecutorContract):
    refused_by = "test_it_says_what_a_figure_depends_on"
    make = type("Objects", (LocalExecutor,), {"environment": lambda self: {"gpu": object()}})


class RefuseEmptyEnvironment(ExecutorContract):
    refused_by = "test_it_says_what_a_figure_depends_on"
    make = type("Silent", (LocalExecutor,), {"environment": lambda self: {}})
