# syntax=docker/dockerfile:1

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY pipelines pipelines
COPY workers workers
COPY exports exports
# the wheel first, then its dependencies: the light core and the HTTP API, no PyTorch
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && python -m venv /opt/pixelmill \
 && /opt/pixelmill/bin/python -m pip install --no-cache-dir "$(ls /wheels/*.whl)[api]"

FROM python:3.12-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Pixelmill" \
      org.opencontainers.image.description="Images through a queue of ONNX pipelines to results, each exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# opencv-python is linked against these two, and a slim image has neither
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

# a fixed uid, so that the owner of a mounted results folder can be set beforehand
RUN groupadd --gid 10001 pixelmill \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin pixelmill

COPY --from=build /opt/pixelmill /opt/pixelmill
# HOME: any uid may be given with --user, also one without a name
ENV PATH="/opt/pixelmill/bin:${PATH}" \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

USER 10001:10001
WORKDIR /data
STOPSIGNAL SIGTERM

# healthy: the broker answers, and this container's worker takes shards from the queue
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 CMD ["pixelmill", "health"]
ENTRYPOINT ["pixelmill"]
CMD ["worker"]
