"""Kinds of files, by first bytes and by ending: to say why a file is not read as an image, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

READ = ("AVIF", "BMP", "GIF", "JPEG", "JPEG 2000", "PNG", "PNM", "TIFF", "WebP")
"""Kinds that are decoded."""
HEAD = 512
"""Bytes at the beginning of a file that `by_content` uses."""

_DICOM = (
    "DICOM is not read: export it as PNG first (with dcm2pnm +on of DCMTK, or pydicom and Pillow), in 8 bits, with the "
    "window that shows what matters"
)
_CONVERT = "{kind} is not read: convert it to JPEG or PNG"
_VOLUME = "{kind} holds volumes, which are not read: export the slices that matter as PNG"
_ADVICE = {
    "DICOM": _DICOM,
    "NIfTI": _VOLUME,
    "NRRD": _VOLUME,
    "MetaImage": _VOLUME,
    "whole-slide image": "{kind}s are not read: cut it into tiles and save those as PNG or JPEG",
    "NumPy array": "{kind}s are not read from folders: save each as PNG, or all in one .npz (docs/datasets.md)",
    "HDF5": _VOLUME,
    "Git LFS pointer": "the image itself was not downloaded: run git lfs pull",
    "HTML page": "a download was answered with a page instead of the image: download it again",
}
ENDINGS: Mapping[str, str] = {
    ".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".jxl": "JPEG XL", ".svg": "SVG", ".psd": "PSD", ".eps": "EPS",
    ".dcm": "DICOM", ".dicom": "DICOM", ".ima": "DICOM", ".nii": "NIfTI", ".nrrd": "NRRD", ".mha": "MetaImage",
    ".mhd": "MetaImage", ".svs": "whole-slide image", ".ndpi": "whole-slide image", ".mrxs": "whole-slide image",
    ".scn": "whole-slide image", ".exr": "OpenEXR", ".hdr": "Radiance HDR", ".tga": "TGA", ".ico": "ICO", ".pcx": "PCX",
    ".cr2": "camera raw", ".cr3": "camera raw", ".nef": "camera raw", ".arw": "camera raw", ".dng": "camera raw",
    ".raw": "camera raw", ".rw2": "camera raw", ".orf": "camera raw", ".npy": "NumPy array", ".h5": "HDF5",
    ".hdf5": "HDF5", ".mp4": "video", ".avi": "video", ".mov": "video", ".mkv": "video", ".webm": "video",
}  # fmt: skip
"""Ending → kind of files that hold images but are not read."""
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"\x93NUMPY", "NumPy array"),
    (b"\x89HDF\r\n", "HDF5"),
    (b"NRRD000", "NRRD"),
    (b"version https://git-lfs", "Git LFS pointer"),
)
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"hevc": "HEIC"}


def by_content(head: bytes) -> str | None:
    """The kind of a file; None if unknown. head: its first HEAD bytes."""
    for start, kind in _HEADS:
        if head.startswith(start):
            return kind
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return "AVIF" if head[8:12] in (b"avif", b"avis") else _BRANDS.get(head[8:12], "video")
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in (b" ", b"\n", b"\r", b"\t"):
        return "PNM"
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        return "NIfTI"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML page"
    return "SVG" if b"<svg" in text and text.startswith(b"<") else None


def advice(kind: str) -> str:
    """What to do about a file of a kind that is not read, or is not a table."""
    return "one picture" if kind in READ else _ADVICE.get(kind, _CONVERT).format(kind=kind)
