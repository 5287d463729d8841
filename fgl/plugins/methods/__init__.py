"""Built-in methods."""

from __future__ import annotations

from fgl import hookimpl
from fgl.contracts.component import Component


@hookimpl
def fgl_methods() -> list[Component]:
    return [
        Component(
            name="fgl",
            target="fgl.plugins.methods.generative:OneShot",
            summary="Federated generative learning in one round, as the configuration has it (arXiv 2306.16064).",
        ),
        Component(
            name="fgl-rounds",
            target="fgl.plugins.methods.generative:Rounds",
            options="fgl.plugins.methods.options:RoundsOptions",
            summary="The same, then rounds of local training and fine-tuning on the synthetic set (arXiv 2306.16064).",
        ),
        Component(
            name="learned",
            target="fgl.plugins.methods.generative:Learned",
            options="fgl.plugins.methods.options:LearnedOptions",
            summary="Embeddings that clients learn from their images, in one round (after arXiv 2407.19953).",
        ),
        Component(
            name="fgl-adapted",
            target="fgl.plugins.methods.generative:Adapted",
            options="fgl.plugins.methods.options:AdaptedOptions",
            summary="The generator, adapted by low-rank adapters that the clients train, then one synthetic set.",
        ),
        Component(
            name="fgl-votes",
            target="fgl.plugins.methods.generative:Votes",
            options="fgl.plugins.methods.options:VotesOptions",
            summary="Images vote for public texts under differential privacy (after arXiv 2305.15560, 2506.07555).",
        ),
        Component(
            name="analytic",
            target="fgl.plugins.methods.heads:Analytic",
            options="fgl.plugins.methods.options:FeatureOptions",
            summary="Ridge regression on features in closed form; the split does not matter (AFL, arXiv 2405.16240).",
        ),
        Component(
            name="gaussian",
            target="fgl.plugins.methods.heads:Gaussian",
            options="fgl.plugins.methods.options:FeatureOptions",
            summary="Linear discriminant of features, from counts and moments (FedCGS, arXiv 2503.06962).",
        ),
        Component(
            name="fedpft",
            target="fgl.plugins.methods.heads:FedPFT",
            options="fgl.plugins.methods.options:FedPFTOptions",
            summary="A head trained on samples of Gaussians that clients fit to their features (arXiv 2402.01862).",
        ),
    ]
