"""The place of this in fgl 0.1: every name is in `fgl.errors` now."""

from __future__ import annotations

from fgl.core._moved import moved, names

__getattr__, __dir__ = moved(
    __name__,
    {
        **names(
            "fgl.errors",
            "FGLError Problem ConfigError PolicyError PluginError UnknownPluginError PluginClashError "
            "BrokenPluginError MissingExtraError DataError BadImageError ClassListError PartitionError "
            "UploadError ClientFailedError UploadSizeError UploadFormatError UploadChecksumError "
            "UploadSenderError UploadRoundError UploadReplayError UploadEncoderError "
            "UploadClassesError UploadShapeError UploadValueError UploadWeightError UploadNormError "
            "ClientDivergedError KeptLostError TooFewUploadsError ModelError DivergedError StoreError",
            told="public_message",
        ),
    },
)
