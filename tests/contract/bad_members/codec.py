"""Codecs that break one promise each: float32 as it is, with other members."""

from __future__ import annotations

import random

import numpy as np

from fgl.testing.contracts import CodecContract


class Sound:
    presented = "float32"

    def layout(self, shape):
        return {"": ("float32", tuple(shape))}

    def encode(self, array):
        return {"": np.ascontiguousarray(array, np.float32)}

    def decode(self, tensors):
        return tensors[""]


def bad(**members):
    return staticmethod(type("Bad", (Sound,), members))


class RefuseAnotherLayout(CodecContract):
    refused_by = "test_its_tensors_are_those_of_its_layout"
    make = bad(encode=lambda self, array: {"": array.astype(np.float16)})


class RefuseDoubles(CodecContract):
    refused_by = "test_decoded_rows_have_the_shape_and_the_dtype_that_it_presents"
    make = bad(decode=lambda self, tensors: tensors[""].astype(np.float64))


class RefuseHalvedNumbers(CodecContract):
    refused_by = "test_rows_come_back_within_the_tolerance"
    make = bad(decode=lambda self, tensors: tensors[""] / 2)


class Shifted:
    """Rows that are others when they are asked for one by one."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __len__(self):
        return len(self.rows)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.rows, dtype)

    def __getitem__(self, index):
        return self.rows[index] + 1


class RefuseOtherRowsWhenAskedForOneByOne(CodecContract):
    refused_by = "test_a_row_can_be_asked_for_by_number_slice_and_list"
    make = bad(decode=lambda self, tensors: Shifted(tensors[""]))


class RefuseCentredRows(CodecContract):
    refused_by = "test_a_row_does_not_depend_on_what_is_encoded_beside_it"
    make = bad(encode=lambda self, array: {"": array - (array.mean(axis=0) if len(array) else 0)})


class RefuseMeanOfNothing(CodecContract):
    refused_by = "test_no_rows_are_no_rows"
    make = bad(encode=lambda self, array: {"": array * array[0].max().astype(np.float32)})


class RefuseInPlace(CodecContract):
    refused_by = "test_the_array_is_not_written_to"
    make = bad(encode=lambda self, array: {"": np.multiply(array, 1, out=array)})


class RefuseGlobalDraws(CodecContract):
    refused_by = "test_work_leaves_global_random_numbers_alone"
    make = bad(encode=lambda self, array: random.random() and {"": array})


class RefuseNotANumber(CodecContract):
    refused_by = "test_a_server_accepts_what_it_writes"
    make = bad(decode=lambda self, tensors: np.where(tensors[""] == 0, np.float32(np.nan), tensors[""]))


class RefuseLayoutByTheNumbers(CodecContract):
    """More tensors for the array that was encoded last than for another of its shape."""

    refused_by = "test_the_size_that_it_would_have_follows_from_shapes"

    def make():
        class ByNumbers(Sound):
            extra = False

            def layout(self, shape):
                return {"": ("float32", tuple(shape)), **({".more": ("uint8", (9,))} if self.extra else {})}

            def encode(self, array):
                self.extra = bool(len(array))
                return {"": array, **({".more": np.zeros(9, np.uint8)} if self.extra else {})}

        return ByNumbers()

    make = staticmethod(make)


class RefuseUncheckedBound(CodecContract):
    refused_by = "test_whatever_bytes_a_client_puts_in_its_place_a_server_refuses_them_or_gets_numbers_within_the_bound"
    make = bad(check=lambda self, name, tensors, bound: None)
