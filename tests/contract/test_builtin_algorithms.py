from fgl.plugins.algorithms import options
from fgl.plugins.algorithms.adaptive import FedAdam
from fgl.plugins.algorithms.averaging import FedAvg
from fgl.plugins.algorithms.proximal import FedProx
from fgl.plugins.algorithms.scaffold import Scaffold
from fgl.testing.federated import AlgorithmContract


class TestFedAvg(AlgorithmContract):
    make = staticmethod(lambda: FedAvg(options.FedAvgOptions()))


class TestFedAvgWithoutWeights(AlgorithmContract):
    make = staticmethod(lambda: FedAvg(options.FedAvgOptions(weighting="uniform")))


class TestFedProx(AlgorithmContract):
    make = staticmethod(lambda: FedProx(options.FedProxOptions(mu=0.1)))


class TestScaffold(AlgorithmContract):
    make = staticmethod(lambda: Scaffold(options.ScaffoldOptions()))


class TestScaffoldByDisplacement(AlgorithmContract):
    make = staticmethod(lambda: Scaffold(options.ScaffoldOptions(control="displacement", weighting="uniform")))


class TestFedAdam(AlgorithmContract):
    make = staticmethod(lambda: FedAdam(options.FedAdamOptions(lr=0.1)))
