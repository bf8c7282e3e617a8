# One file for all services: `docker build --target command-api .` and so on. Versions and hashes come from
# requirements.lock; each service gets only what it needs (TensorFlow is in the executor's image alone).
FROM python:3.11-slim-bookworm AS build
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_LINK_MODE=copy UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
WORKDIR /src
RUN uv venv -q /opt/darkroom
COPY pyproject.toml requirements.lock ./
COPY schemas schemas
COPY runtime runtime

FROM build AS build-command-api
COPY command-api command-api
RUN uv pip install -q --no-sources --python /opt/darkroom -c requirements.lock ./schemas ./runtime ./command-api

FROM build AS build-query-api
COPY query-api query-api
RUN uv pip install -q --no-sources --python /opt/darkroom -c requirements.lock ./schemas ./runtime ./query-api

FROM build AS build-projector
COPY projector projector
RUN uv pip install -q --no-sources --python /opt/darkroom -c requirements.lock ./schemas ./runtime ./projector

FROM build AS build-executor
COPY executor executor
RUN uv pip install -q --no-sources --python /opt/darkroom -c requirements.lock ./schemas ./runtime ./executor

FROM build AS build-simulator
COPY simulator simulator
RUN uv pip install -q --no-sources --python /opt/darkroom -c requirements.lock ./schemas ./runtime ./simulator

# What runs: no compiler, no package manager of ours, no root.
FROM python:3.11-slim-bookworm AS service
RUN useradd --uid 10001 --create-home --home-dir /var/lib/darkroom darkroom
ENV PATH=/opt/darkroom/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DARKROOM_BIND=0.0.0.0 DARKROOM_DATA=/var/lib/darkroom/data
WORKDIR /var/lib/darkroom
RUN mkdir data && chown darkroom data
USER 10001
STOPSIGNAL SIGTERM

FROM service AS command-api
COPY --from=build-command-api /opt/darkroom /opt/darkroom
EXPOSE 8080
CMD ["python", "-m", "darkroom.command_api"]

FROM service AS query-api
COPY --from=build-query-api /opt/darkroom /opt/darkroom
COPY models/samples /opt/darkroom/samples
ENV DARKROOM_SAMPLES=/opt/darkroom/samples
EXPOSE 8081
CMD ["python", "-m", "darkroom.query_api"]

FROM service AS projector
COPY --from=build-projector /opt/darkroom /opt/darkroom
CMD ["python", "-m", "darkroom.projector"]

FROM service AS executor
COPY --from=build-executor /opt/darkroom /opt/darkroom
CMD ["python", "-m", "darkroom.executor"]

FROM service AS simulator
COPY --from=build-simulator /opt/darkroom /opt/darkroom
COPY models/samples /opt/darkroom/samples
ENV DARKROOM_SIMULATE_SAMPLES=/opt/darkroom/samples
CMD ["python", "-m", "darkroom.simulator"]
