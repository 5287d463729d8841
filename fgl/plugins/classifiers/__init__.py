"""Built-in classifiers: any transformers image-classification model, and some by name."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component

_TARGET = "fgl.plugins.classifiers.classifier:TransformersClassifier"
_OPTIONS = "fgl.plugins.classifiers.options:ClassifierOptions"

# torchvision's layouts in terms of transformers' ResNetConfig.
_RESNETS = {
    "resnet18": {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]},
    "resnet34": {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [3, 4, 6, 3]},
    "resnet50": {"layer_type": "bottleneck", "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]},
}
# RegNet rather than ResNet: its stem keeps 32 pixels at 16 before the first stage, ResNet's would leave 8. The group
# width switches grouped convolutions off, which are slow on CPUs, and widths are multiples of 32, which their bf16
# kernels want: 24 and 40 channels are slower than 32 and 64. docs/classifiers.md has what it was measured against.
_SMALL = {
    "architecture": "regnet",
    "preset": "small",
    "image_size": 32,
    "config": {
        "layer_type": "y",
        "embedding_size": 32,
        "hidden_sizes": [32, 64, 128],
        "depths": [1, 2, 1],
        "groups_width": 128,
        "downsample_in_first_stage": False,
    },
}
# Chosen on EuroSAT's public split, see benchmarks/evidence/tune.py.
_CONTINUED = {"lr": 3e-4}


@hookimpl
def fgl_classifiers() -> list[Component]:
    resnets = [
        Component(
            name=name,
            target=_TARGET,
            options=_OPTIONS,
            summary=f"ResNet-{name.removeprefix('resnet')} from scratch, the paper's recipe (preset: small is short)",
            defaults={"architecture": "resnet", "config": config, "preset": "paper"},
            smoke={"epochs": 2, "batch_size": 32, "image_size": 32, "eval_resize": None},
        )
        for name, config in _RESNETS.items()
    ]
    return [
        Component(
            name="small",
            target=_TARGET,
            options=_OPTIONS,
            summary="narrow RegNet for images of about 32 pixels: half a minute on two CPU cores",
            defaults=_SMALL,
            continuation_defaults=_CONTINUED,
        ),
        Component(
            name="small-long",
            target=_TARGET,
            options=_OPTIONS,
            summary="small for 500 synthetic images a class and more: twice the epochs, smoothed labels",
            # Chosen on images of the public half, see docs/classifiers.md. Half of a generator's images of a hard class
            # may be wrong, and validation images are no better: so labels are smoothed, and late epochs preferred.
            defaults={**_SMALL, "epochs": 28, "label_smoothing": 0.1, "selection_slack": 1.0},
            continuation_defaults=_CONTINUED,
        ),
        *resnets,
        Component(
            name="transformers",
            target=_TARGET,
            options=_OPTIONS,
            summary="any transformers image classifier, from scratch (architecture) or from weights (pretrained)",
        ),
        Component(
            name="linear",
            target="fgl.plugins.classifiers.linear:LinearHead",
            options="fgl.plugins.classifiers.head_options:LinearOptions",
            summary="a linear layer on features, for generators that yield features (class-gaussians)",
            accepts=("features", "rounds"),
            continuation_defaults={"lr": 1e-3},
            smoke={"epochs": 2},
            companions={"generator": {"name": "class-gaussians"}},
        ),
        Component(
            name="analytic",
            target="fgl.plugins.classifiers.closed_form:AnalyticHead",
            options="fgl.plugins.classifiers.head_options:AnalyticOptions",
            summary="ridge regression on features in closed form: the pooled solution, however the data is split (AFL)",
            accepts=("moments", "features"),
            companions={"generator": {"name": "moments"}},
        ),
        Component(
            name="gaussian",
            target="fgl.plugins.classifiers.closed_form:GaussianHead",
            options="fgl.plugins.classifiers.head_options:GaussianOptions",
            summary="linear discriminant of features in closed form, from counts, means and a covariance (FedCGS)",
            accepts=("moments", "features"),
            companions={"generator": {"name": "moments"}},
        ),
    ]
