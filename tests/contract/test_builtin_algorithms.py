from fgl.plugins.algorithms import options
from fgl.plugins.algorithms.fedadam import FedAdam
from fgl.plugins.algorithms.fedavg import FedAvg
from fgl.plugins.algorithms.fedprox import FedProx
from fgl.plugins.algorithms.scaffold import Scaffold
from fgl.testing.contracts import AlgorithmContract


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
