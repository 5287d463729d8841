"""Executors that break one promise each."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace

from fgl import fill_shard
from fgl.plugins.executors.local import LocalExecutor
from fgl.testing.contracts import ExecutorContract


class ForgetsTheLast(LocalExecutor):
    def run(self, job, advance):
        super().run(replace(job, shards=job.shards[:-1]), advance)


class Twice(LocalExecutor):
    def run(self, job, advance):
        super().run(replace(job, shards=(*job.shards, *job.shards)), advance)


class ReturnsEarly(LocalExecutor):
    def run(self, job, advance):
        def later():
            time.sleep(1)
            with suppress(OSError):  # the folder may be gone by then
                LocalExecutor.run(self, job, advance)

        threading.Thread(target=later, daemon=True).start()


class Elsewhere(LocalExecutor):
    def run(self, job, advance):
        super().run(replace(job, device="meta"), advance)


class Silent(LocalExecutor):
    def run(self, job, advance):
        super().run(job, lambda count: None)


class SwallowsErrors(LocalExecutor):
    def run(self, job, advance):
        for index in job.shards:
            with suppress(Exception):
                fill_shard(job, index, advance)


class OnceOnly(LocalExecutor):
    used = False

    def run(self, job, advance):
        if not self.used:
            super().run(job, advance)
        self.used = True


class TakesTheFirst(LocalExecutor):
    def run(self, job, advance):
        fill_shard(job, job.shards[0] if job.shards else 0, advance)
        super().run(replace(job, shards=job.shards[1:]), advance)


class RefuseForgetsTheLast(ExecutorContract):
    refused_by = "test_each_shard_is_filled_once_and_all_are_when_it_returns"
    make = ForgetsTheLast


class RefuseTwice(ExecutorContract):
    refused_by = "test_each_shard_is_filled_once_and_all_are_when_it_returns"
    make = Twice


class RefuseReturnsEarly(ExecutorContract):
    refused_by = "test_each_shard_is_filled_once_and_all_are_when_it_returns"
    make = ReturnsEarly


class RefuseElsewhere(ExecutorContract):
    refused_by = "test_shards_are_filled_on_the_device_of_the_job"
    make = Elsewhere


class RefuseLostCommits(ExecutorContract):
    refused_by = "test_a_commit_beside_the_next_shard_is_not_lost"
    make = ReturnsEarly


class RefuseSilent(ExecutorContract):
    refused_by = "test_all_images_are_told"
    make = Silent


class RefuseSwallowsErrors(ExecutorContract):
    refused_by = "test_an_error_of_filling_reaches_the_caller"
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
    make = type("Mute", (LocalExecutor,), {"environment": lambda self: {}})
