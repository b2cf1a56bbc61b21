"""KServe as a gateway: a transformer that changes nothing before its predictor.

Runs in KServe's own environment.
"""

from __future__ import annotations

import argparse

from kserve import Model, ModelServer, model_server  # type: ignore[import-not-found]
from kserve.predictor_config import PredictorConfig  # type: ignore[import-not-found]


class Transformer(Model):  # type: ignore[misc]  # it is foreign, and has no types here
    """Passes requests on to `predictor_host`."""

    def __init__(self, name: str, predictor: PredictorConfig) -> None:
        super().__init__(name, predictor)
        self.ready = True


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    arguments, _ = parser.parse_known_args()
    predictor = PredictorConfig(predictor_host=arguments.predictor_host, predictor_protocol="v1")
    ModelServer().start([Transformer(arguments.model_name, predictor)])


if __name__ == "__main__":
    main()
